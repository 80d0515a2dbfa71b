"""Every benchmark of this folder, one after the other, into one page: ``make bench``, under 20 minutes.

Writes docs/performance.md: the aims, and what each script prints, with its command, its time and the
machine. Ratios of one table come from one process; times of this page are of one thread unless said. Run it
on a machine that does nothing else; what is not done when the time is over is told on the page. --quick runs
the smallest case of each, as a test, and writes to build/.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import os
import platform
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


def run(script: str, quick: bool, seconds: float) -> tuple[int, str, list[list[str]]]:
    """The exit code of a script, its section of the page, and its aims."""
    words = [f"tests/perf/{script}", *(["--quick"] if quick else [])]
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
        f"`OMP_NUM_THREADS=1 python {' '.join(words)}`: {took:.0f} s, {cpu:.0f} s of CPU.\n\n"
        f"```text\n{printed}\n```\n"
    )
    return code, section, rows


def heading() -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "snakemake")
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        "# Performance\n\n"
        "Written by `make bench`; every number is of that run. Ratios are what to read: machines differ. A "
        "limit stands beside each: bytes that must be read at the machine's measured bandwidth for the token "
        "score, the ratio of tokens for the prefill, the libraries' own import for a start, the model's "
        "multiply-adds at a matrix product's rate for the sweep, Snakemake's own share for many jobs. Random "
        "weights say nothing about accuracy. Figures of a GPU are made by `make gpu`.\n\n"
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}; load "
        f"before the start {load}.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest case of each; writes to build/")
    parser.add_argument("--out", type=Path, help="docs/performance.md, or build/performance.md if --quick")
    parser.add_argument("--only", nargs="+", choices=list(SCRIPTS), default=list(SCRIPTS))
    chosen = parser.parse_args(arguments)
    out = chosen.out or ROOT / ("build" if chosen.quick else "docs") / "performance.md"
    deadline = time.monotonic() + 60 * MINUTES
    top, sections, reached, failed = heading(), [], [], []
    for script in chosen.only:
        print(f"== {script}", flush=True)
        code, section, rows = run(script, chosen.quick, deadline - time.monotonic())
        print(section.split("```")[1].removeprefix("text"), flush=True)
        sections.append(section)
        reached += rows
        failed += [script] if code else []
    if reached:
        print(aims.table(reached))
        sections.insert(0, f"## Aims\n\n{aims.table(reached)}\n")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join([top, *sections]))
    print(f"wrote {out}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
