"""``hawk demo``: the whole workflow on the embedded model, with time and result at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from hawk.core.paths import RunPaths
from hawk.report.tables import read_retention, text_table
from hawk.tools.run import command
from hawk.tools.warm import warm_process

PATHS = RunPaths("outputs/tiny")
# What a person wants to know of a running rule; the others take no time.
STAGES = {
    "prepare_samples": "drawing samples",
    "encode_images": "encoding images",
    "score_reference": "scoring the whole model",
    "repeat_reference": "scoring it again",
    "score_baseline": "scoring the whole model",
    "ablate_head": "switching heads off",
    "evaluate_pruned": "evaluating pruners",
    "measure_cost": "measuring cost",
    "make_report": "writing the report",
}


def demo(cores: int) -> int:
    """Run the default config in the working directory; returns Snakemake's exit code."""
    snakemake = command(None, ["--cores", str(cores), "--quiet", "host"])
    if _stale_lock():
        print("An earlier run was killed; unlocking. Finished work is kept.", flush=True)
        subprocess.run(command(None, ["--unlock", "--quiet", "all"]), check=True)
    progress, started = Progress(time.monotonic()), time.time()
    last_lines: deque[str] = deque(maxlen=60)
    # In the process group of this one: Ctrl-C reaches Snakemake, which ends its jobs itself.
    with (
        warm_process() as environment,
        subprocess.Popen(
            snakemake, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            last_lines.append(line)
            text = progress.read(line, time.monotonic())
            if text is not None:
                _show(text, progress)
    if run.returncode:
        # Snakemake says much, and all of it stands in .snakemake/log; the reasons are in the jobs' logs.
        print("\n", *last_lines, sep="", file=sys.stderr)
        print("The demo did not finish. The failed jobs said:", file=sys.stderr)
        for path, reason in reasons(Path(PATHS.root, "logs"), started):
            print(f"{path}: {reason}", file=sys.stderr)
        return run.returncode
    _summary(progress.done, time.monotonic() - progress.begin)
    return 0


def reasons(folder: Path, since: float) -> list[tuple[str, str]]:
    """The logs under ``folder`` that were written after ``since`` and end in an error, with that line."""
    reasons_found = []
    for path in sorted(folder.rglob("*.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if path.stat().st_mtime >= since and lines and lines[-1].startswith("error:"):
            reasons_found.append((str(path), lines[-1]))
    return reasons_found


class Progress:
    """What Snakemake's output says about where a run is. ``begin`` and ``now`` are seconds of one clock."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.done = self.total = 0
        self.stage = ""

    def read(self, line: str, now: float) -> str | None:
        """The text to show after a line of output that finished jobs; None after any other."""
        started = re.match(r"(?:local)?rule (\w+):", line)
        if started:
            # A group of heads is a rule of its own name: ablate_head, ablate_head_1, …
            self.stage = STAGES.get(re.sub(r"_\d+$", "", started[1]), self.stage)
        finished = re.search(r"(\d+) of (\d+) steps \((\d+)%\) done", line)
        if not finished:
            return None
        self.done, self.total = int(finished[1]), int(finished[2])
        spent = now - self.begin
        text = f"{self.done} of {self.total} jobs, {duration(spent)}"
        # Early on the pace is that of drawing samples, and says nothing.
        if self.total // 5 <= self.done < self.total:
            text += f", about {duration(spent * (self.total - self.done) / self.done)} left"
        return f"{text}: {self.stage}" if self.stage and self.done < self.total else text


def duration(seconds: float) -> str:
    """``7 s`` or ``4 min 38 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def spent(jobs: int, seconds: float) -> str:
    """The last word on how long it took."""
    return f"{jobs} jobs in {duration(seconds)}." if jobs else "Nothing was left to do."


def _show(text: str, progress: Progress) -> None:
    last = progress.done == progress.total
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="\n" if last else "", flush=True)
    elif last or progress.done % 20 == 0:
        print(text, flush=True)


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
