"""Every benchmark of this folder, one after the other, into one page: ``make bench``, under 20 minutes.

Writes docs/performance.md: what each script prints, with its command, its time and the machine. Ratios of
one table come from one process; times of this page are of one thread unless said. Run it on a machine that
does nothing else. --quick runs the smallest case of each, as a test, and writes to build/.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
SCRIPTS = {
    "bench_scoring.py": "Token score",
    "bench_pruners.py": "Selection, per method",
    "bench_prefill.py": "Prefill and KV cache",
    "bench_sweep.py": "Ablation sweep",
    "bench_scale.py": "Many jobs",
}


def run(script: str, quick: bool) -> tuple[int, str]:
    """The exit code of a script, and its section of the page."""
    words = [f"tests/perf/{script}", *(["--quick"] if quick else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    doc = ast.get_docstring(ast.parse((FOLDER / script).read_text())) or ""
    printed = done.stdout.strip()
    if done.returncode:
        printed += f"\n\nended with code {done.returncode}: {done.stderr.strip()[-1000:]}"
    section = (
        f"## {SCRIPTS[script]}\n\n{doc.strip()}\n\n"
        f"`OMP_NUM_THREADS=1 python {' '.join(words)}`: {took:.0f} s, {cpu:.0f} s of CPU.\n\n"
        f"```\n{printed}\n```\n"
    )
    return done.returncode, section


def heading() -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "snakemake")
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        "# Performance\n\n"
        "Written by `make bench`; every number is of that run. Ratios are what to read: machines differ. A "
        "limit stands beside each: bytes that must be read at the machine's measured bandwidth for the token "
        "score, the ratio of tokens for the prefill, the model's multiply-adds at a matrix product's rate "
        "for the sweep, Snakemake's own share for many jobs. Random weights say nothing about accuracy. "
        "Figures of a GPU are in docs/gpu.md once `make gpu` has run on one.\n\n"
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
    sections, failed = [heading()], []
    for script in chosen.only:
        print(f"== {script}", flush=True)
        code, section = run(script, chosen.quick)
        print(section.split("```")[1], flush=True)
        sections.append(section)
        failed += [script] if code else []
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(sections))
    print(f"wrote {out}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
