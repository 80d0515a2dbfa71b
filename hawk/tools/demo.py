"""``hawk demo``: the whole workflow on the embedded model, with time and result at the end."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from hawk.core.paths import RunPaths
from hawk.report.tables import read_retention, text_table
from hawk.tools.follow import duration, follow
from hawk.tools.run import command
from hawk.tools.warm import warm_process

PATHS = RunPaths("outputs/tiny")


def demo(cores: int) -> int:
    """Run the default config in the working directory; returns Snakemake's exit code."""
    snakemake = command(None, ["--cores", str(cores), "--quiet", "host"])
    if _stale_lock():
        print("An earlier run was killed; unlocking. Finished work is kept.", flush=True)
        subprocess.run(command(None, ["--unlock", "--quiet", "all"]), check=True)
    with warm_process() as environment:
        code, progress = follow(snakemake, environment, beginning=False)
    if code:
        return code
    _summary(progress.done, time.monotonic() - progress.begin)
    return 0


def spent(jobs: int, seconds: float) -> str:
    """The last word on how long it took."""
    return f"{jobs} jobs in {duration(seconds)}." if jobs else "Nothing was left to do."


def _summary(jobs: int, seconds: float) -> None:
    frame, settings = read_retention(PATHS.root)
    print()
    print(text_table(frame, "overall", settings))
    print()
    print(spent(jobs, seconds))
    print(f"Report: {PATHS.report()} (open it in a browser)")
    print(f"Head weights: hawk show {PATHS.head_weights('zero')}")


def _stale_lock() -> bool:
    """Is there a Snakemake lock here whose Snakemake is dead? Only sure where /proc tells."""
    locks = Path(".snakemake/locks")
    if not locks.is_dir() or not any(locks.iterdir()) or not Path("/proc/self").exists():
        return False
    here = Path.cwd()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if int(process.name) != os.getpid() and (process / "cwd").resolve() == here:
                if any(word.endswith(b"snakemake") for word in words):
                    return False
        except OSError:
            continue  # ended meanwhile, or another user's
    return True
