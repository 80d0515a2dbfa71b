"""``make demo``: the whole workflow on the embedded model, with time and result at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.tools.warm import warm_process

PATHS = RunPaths("outputs/tiny")


def demo(cores: int) -> int:
    """Run the default config; returns Snakemake's exit code."""
    if not Path("Snakefile").is_file():
        raise InputError("there is no Snakefile here; run the demo from the root of the repository.")
    if _stale_lock():
        print("An earlier run was killed; unlocking. Finished work is kept.", flush=True)
        subprocess.run([sys.executable, "-m", "snakemake", "--unlock", "--quiet", "all"], check=True)
    begin = time.monotonic()
    # In the process group of this one: Ctrl-C reaches Snakemake, which ends its jobs itself.
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "rules", "host"]
    jobs = 0
    said: deque[str] = deque(maxlen=60)
    with (
        warm_process() as environment,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            found = re.search(r"(\d+) of (\d+) steps \((\d+)%\) done", line)
            if found:
                jobs = int(found[1])
                _progress(jobs, int(found[2]), time.monotonic() - begin)
            else:
                said.append(line)
    if run.returncode:
        # Snakemake says much; all of it stands in .snakemake/log. Its last words hold the reason.
        print("\n", *said, sep="", file=sys.stderr)
        print("The demo did not finish. The failed jobs' logs are named above.", file=sys.stderr)
        return run.returncode
    _summary(jobs, time.monotonic() - begin)
    return 0


def _progress(done: int, total: int, seconds: float) -> None:
    text = f"{done} of {total} jobs, {seconds:.0f} s"
    if sys.stdout.isatty():
        print(f"\r{text}", end="\n" if done == total else "", flush=True)
    elif done == total or done % 20 == 0:
        print(text, flush=True)


def _summary(jobs: int, seconds: float) -> None:
    from hawk.report.tables import read_retention, text_table

    frame, settings = read_retention(PATHS.root)
    print()
    print(text_table(frame, "overall", settings))
    print()
    print(f"{jobs} jobs in {seconds // 60:.0f} min {seconds % 60:.0f} s (0 jobs: nothing was left to do).")
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
