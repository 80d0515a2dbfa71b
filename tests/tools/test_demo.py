"""What hawk demo says while it runs, and at the end."""

from __future__ import annotations

from hawk.tools.demo import spent
from hawk.tools.follow import Progress, duration

# As Snakemake 9 prints with --quiet host.
LINES = [
    "[Fri Nov 27 12:05:18 2026]",
    "localrule prepare_samples:",
    "    output: outputs/tiny/samples/calibration/digits.parquet",
    "2 of 10 steps (20%) done",
    "rule ablate_heads_3:",
    "3 of 10 steps (30%) done",
    "rule cost_table:",
    "10 of 10 steps (100%) done",
]


def test_it_shows_jobs_stage_and_the_time_that_is_left() -> None:
    progress = Progress(begin=100.0)
    shown = [progress.read(line, 100.0 + 10 * number) for number, line in enumerate(LINES)]
    assert [text for text in shown if text is not None] == [
        # 2 jobs in 30 s: 8 jobs are left, of 15 s each.
        "2 of 10 jobs, 30 s, about 2 min 0 s left: drawing samples",
        "3 of 10 jobs, 50 s, about 1 min 57 s left: switching heads off",
        "10 of 10 jobs, 1 min 10 s",
    ]
    assert (progress.done, progress.total) == (10, 10)


def test_the_first_jobs_tell_no_time_left() -> None:
    progress = Progress(begin=0.0)
    assert progress.read("1 of 10 steps (10%) done", 5.0) == "1 of 10 jobs, 5 s"


def test_the_last_line_does_not_contradict_itself() -> None:
    assert spent(180, 278.4) == "180 jobs in 4 min 38 s."
    assert spent(0, 3.0) == "Nothing was left to do."


def test_durations() -> None:
    assert [duration(value) for value in (0.4, 59.6, 61.0)] == ["0 s", "1 min 0 s", "1 min 1 s"]
