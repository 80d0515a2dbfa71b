"""A running Snakemake in a few words: stage, jobs done, time left; and a dry run as numbers of jobs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# What a person wants to know of a running rule; the others take no time.
STAGES = {
    "prepare_samples": "drawing samples",
    "encode_images": "encoding images",
    "score_reference": "scoring the whole model",
    "repeat_reference": "scoring it again",
    "score_baseline": "scoring the whole model",
    "screen_heads": "estimating heads",
    "ablate_head": "switching heads off",
    "evaluate_pruned": "evaluating pruners",
    "measure_cost": "measuring cost",
    "make_report": "writing the report",
}

_STARTED = re.compile(r"(?:local)?rule (\w+):")
_JOB = re.compile(r" +jobid: (\d+)")
_FINISHED = re.compile(r"Finished jobid: (\d+)")
_FAILED = re.compile(r" +log: (.+) \(check log file")  # of a failed job; others are not told to be checked


def follow(
    command: Sequence[str], environment: Mapping[str, str] | None = None, beginning: bool = True
) -> tuple[int, Progress]:
    """Run a Snakemake command and show how far it is; returns its exit code and what it did.

    Where it fails, the last lines say why each failed job did.
    beginning: also show what Snakemake says before its first job.
    """
    progress, begun = Progress(time.monotonic()), not beginning
    failed: dict[
        str, str
    ] = {}  # the logs of jobs by their number; one that is tried again may still end well
    job = ""
    last_lines: deque[str] = deque(maxlen=60)
    # In the process group of this one: Ctrl-C reaches Snakemake, which ends its jobs itself.
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as run:
        assert run.stderr is not None
        before = signal.signal(signal.SIGTERM, lambda *_: run.terminate())
        try:
            while (line := _next_line(run)) is not None:
                last_lines.append(line)
                if match := _JOB.match(line):
                    job = match[1]
                elif match := _FAILED.match(line):
                    failed[job] = match[1]
                elif match := _FINISHED.match(line):
                    failed.pop(match[1], None)
                text = progress.read(line, time.monotonic())
                begun = begun or bool(_STARTED.match(line))
                if text is not None:
                    _show(text, progress)
                elif not begun:
                    print(line, end="", file=sys.stderr, flush=True)
        finally:
            signal.signal(signal.SIGTERM, before)
    if run.returncode and begun:
        # Snakemake says much, and all of it stands in .snakemake/log; the reasons are in the jobs' logs.
        print("\n", *last_lines, sep="", file=sys.stderr)
        print("The run did not finish." + " The failed jobs said:" * bool(failed), file=sys.stderr)
        for path in failed.values():
            print(f"{path}: {reason(Path(path))}", file=sys.stderr)
    return run.returncode, progress


def _next_line(run: subprocess.Popen[str]) -> str | None:
    """None at the end. Ctrl-C went to Snakemake too, which ends its jobs and says so: it is read on."""
    assert run.stderr is not None
    while True:
        try:
            return run.stderr.readline() or None
        except KeyboardInterrupt:
            continue


TABLE_TITLE = "Job stats:"


def count_jobs(command: Sequence[str]) -> int:
    """Print the jobs that a dry run would start, as numbers per rule; returns Snakemake's exit code."""
    done = subprocess.run(
        [*command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = done.stdout.splitlines()
    tables = [number for number, line in enumerate(lines) if line == TABLE_TITLE]
    # The table comes twice, and behind the second the names of all rules again, as reasons.
    print("\n".join(merged(lines[: tables[1]] if len(tables) > 1 else lines)).rstrip(), flush=True)
    return done.returncode


def merged(lines: Iterable[str]) -> list[str]:
    """Snakemake's table of jobs, the rules ``ablate_heads_0``, ``ablate_heads_1``, … as one row."""
    written: list[str] = []
    place: dict[str, int] = {}  # group of rules → its line in ``written``
    for line in lines:
        row = re.fullmatch(r"(\w+)_\d+( +)(\d+)", line)
        if row is None:
            written.append(line)
        elif row[1] in place:
            name, count = written[place[row[1]]].split()
            total = str(int(count) + int(row[3]))
            written[place[row[1]]] = name + total.rjust(len(line) - len(name))
        else:
            place[row[1]] = len(written)
            written.append(row[1] + row[3].rjust(len(line) - len(row[1])))
    return written


def reason(log: Path) -> str:
    """Why the job that wrote a log failed: its last line, unless something else ended it."""
    if not log.is_file():  # as with --directory, whose logs lie elsewhere
        return "this log is not here; what Snakemake printed of the job stands above."
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if lines and lines[-1].lower().startswith("error:"):
        return lines[-1]
    last = f"{lines[-1]}, and no error" if lines else "nothing"
    return f"{last}. It may have been killed: by someone, by a time limit, or because memory ran out."


class Progress:
    """What Snakemake's output says about where a run is. ``begin`` and ``now`` are seconds of one clock."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.done = self.total = 0
        self.stage = ""

    def read(self, line: str, now: float) -> str | None:
        """The text to show after a line of output that finished jobs; None after any other."""
        started = _STARTED.match(line)
        if started:
            # A group of heads is a rule of its own name: ablate_heads_0, ablate_heads_1, …
            self.stage = STAGES.get(re.sub(r"s_\d+$", "", started[1]), self.stage)
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


def _show(text: str, progress: Progress) -> None:
    last = progress.done == progress.total
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="\n" if last else "", flush=True)
    elif last or progress.done % 20 == 0:
        print(text, flush=True)
