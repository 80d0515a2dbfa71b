"""Every benchmark of this folder, one after the other, into one page: ``make bench``, under 20 minutes.

Writes docs/performance.md: what each script prints, with its aims, its command, its time and the machine,
and how many aims are reached. Ratios of one table come from one process; times of this page are of one thread
unless said. Run it on a machine that does nothing else; what is not done when the time is over is told on the
page. --quick runs the smallest case of each, as a test, and writes to build/.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aims

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
SCRIPTS = {
    "bench_scoring.py": "Token score",
    "bench_pruners.py": "Selection, per method",
    "bench_prefill.py": "Prefill and KV cache",
    "bench_start.py": "Starting",
    "bench_sweep.py": "Ablation sweep",
    "bench_scale.py": "Many jobs",
}


MINUTES = 20
OUT_OF_TIME = 124


def ended(words: list[str], seconds: float) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a script, which is stopped with its children when the time is over."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        command = [sys.executable, *words]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True
        )
        try:
            code = process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = OUT_OF_TIME
        for file in (out, err):
            file.seek(0)
        late = f"stopped: the {MINUTES} minutes of the whole were over\n" if code == OUT_OF_TIME else ""
        return code, out.read(), err.read() + late


def run(script: str, quick: bool, seconds: float) -> tuple[int, str]:
    """The exit code of a script, and its section of the page."""
    words = [f"tests/perf/{script}", *(["--quick"] if quick else [])]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code, out, err = ended(words, seconds)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    doc = ast.get_docstring(ast.parse((FOLDER / script).read_text())) or ""
    rows, printed = aims.taken_out(out)
    if code:
        printed += f"\n\nended with code {code}: {err.strip()[-1000:]}"
    section = (
        f"## {SCRIPTS[script]}\n\n{doc.strip()}\n\n"
        f"`OMP_NUM_THREADS=1 python {' '.join(words)}`: {took:.0f} s, {cpu:.0f} s of CPU; {machine()}, load "
        f"before the start {load}.\n\n```text\n{printed}\n```\n"
    )
    return code, section + (f"\n{aims.table(rows)}\n" if rows else "")


def machine() -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "snakemake")
    )
    cores = str(os.cpu_count())
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) != os.cpu_count():
        cores = f"{len(os.sched_getaffinity(0))} of {cores}"
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, {versions}"


def page_of(sections: dict[str, str]) -> str:
    body = "\n".join(sections.values())
    return (
        "# Performance\n\n"
        "Written by `make bench`. Numbers of one section are of one run. Ratios are what to read: machines "
        "differ. A limit stands beside each: bytes that must be read at the machine's measured bandwidth "
        "for the token score, the ratio of tokens for the prefill, the libraries' own import for a start, "
        "the model's multiply-adds at a matrix product's rate for the sweep, Snakemake's own share for many "
        "jobs. Random weights say nothing about accuracy. Figures of a GPU are made by `make gpu`: "
        "[On a GPU](gpu.md).\n\n"
        f"{aims.counted(body)}{_ended_early(sections)}{_together(body)}\n\n{body}"
    )


def _ended_early(sections: dict[str, str]) -> str:
    """Names the parts whose aims may be missing from the count."""
    early = [title for title, text in sections.items() if "\nended with code " in text]
    return f" Ended before its end, so that aims of it may be missing: {'; '.join(early)}." if early else ""


def _together(body: str) -> str:
    """How long all parts took; more than a run may take was not made by one."""
    seconds = sum(map(int, re.findall(r"^`OMP_NUM_THREADS=1 .*`: (\d+) s, ", body, re.MULTILINE)))
    more = (
        f", more than the {MINUTES} of one run: some were run again alone" if seconds > 60 * MINUTES else ""
    )
    return f" The parts took {seconds / 60:.1f} minutes together{more}."


def sections_of(page: str) -> dict[str, str]:
    """What stands on a page of an earlier run, by title."""
    parts = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest case of each; writes to build/")
    parser.add_argument("--out", type=Path, help="docs/performance.md, or build/performance.md if --quick")
    parser.add_argument("--only", nargs="+", choices=list(SCRIPTS), help="the page keeps its other sections")
    chosen = parser.parse_args(arguments)
    out = chosen.out or ROOT / ("build" if chosen.quick else "docs") / "performance.md"
    deadline = time.monotonic() + 60 * MINUTES
    known = sections_of(out.read_text()) if chosen.only and out.exists() else {}
    failed = []
    for script in chosen.only or SCRIPTS:
        print(f"== {script}", flush=True)
        code, known[SCRIPTS[script]] = run(script, chosen.quick, deadline - time.monotonic())
        print(known[SCRIPTS[script]].split("```text")[1].replace("```", ""), flush=True)
        failed += [script] if code else []
    page = page_of({title: known[title] for title in SCRIPTS.values() if title in known})
    print(aims.counted(page))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page)
    print(f"wrote {out}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
