"""How many heads one ablation job should have: jobs, hours and the longest job, for some choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hawk.config.recipes import ablated_heads, measured
from hawk.tools.cards import Timing

LONGEST = 2.0  # hours that a job may take: what many clusters' short queues allow
STARTS = 0.2  # share of the ablation that may go into starting jobs


@dataclass(frozen=True)
class Grouping:
    """One choice of ``heads_per_job``; hours on the timed device."""

    per_job: int | str
    jobs: int
    hours: float
    longest: float
    starts: float  # share of the hours that is starting jobs


def groupings(config: Mapping[str, Any], count: Callable[[str, str], int], timing: Timing) -> list[Grouping]:
    """For 1, 7 and all heads a job, and for the config's own choice.

    Heads of a later layer that share a job share the layers below it: not counted, so an upper bound.
    """
    ablated = [len(ablated_heads(config, ablation)) for ablation in measured(config)]
    heads, configured = max(ablated, default=0), config["ablation"]["heads_per_job"]
    samples = [count("calibration", name) for name in config["calibration"]["benchmarks"]]
    each = timing.score + (0.0 if config["features"] == "stored" else timing.encode)
    sizes = sorted({1, min(7, heads), heads, heads if configured == "all" else min(configured, heads)})
    choices = []
    for size in sizes:
        jobs = len(samples) * sum(math.ceil(number / size) for number in ablated)
        starts = jobs * timing.start
        work = sum(samples) * sum(ablated) * each
        longest = timing.start + size * max(samples, default=0) * each
        total = starts + work
        choices.append(
            Grouping("all" if size == heads else size, jobs, total / 3600, longest / 3600, starts / total)
        )
    return choices


def recommended(choices: Sequence[Grouping]) -> Grouping:
    """The smallest group that spends little on starts, if its jobs fit; else the largest whose jobs fit."""
    fitting = [choice for choice in choices if choice.longest <= LONGEST] or list(choices[:1])
    return next((choice for choice in fitting if choice.starts <= STARTS), fitting[-1])


def grouping_table(choices: Sequence[Grouping]) -> str:
    """The choices as a person reads them; the recommended one is marked."""
    best = recommended(choices)
    lines = ["heads_per_job    jobs  hours  longest job  of it starting jobs"]
    for choice in choices:
        jobs = f"{choice.per_job:>13}{choice.jobs:>8,}{choice.hours:>7.1f}{60 * choice.longest:>9.0f} min"
        cells = f"{jobs}{choice.starts:>20.0%}"
        lines.append(cells + ("  recommended" if choice is best else ""))
    return "\n".join(lines)


def advice(choices: Sequence[Grouping]) -> str:
    """Why one is recommended, in a sentence."""
    best = recommended(choices)
    return (
        f"Recommended: ablation.heads_per_job: {best.per_job}, the smallest here that spends at most "
        f"{STARTS:.0%} of the ablation on starting jobs, with no job over {LONGEST:g} hours (or nearest to "
        "that). It changes no result, and changing it later re-runs nothing."
    )
