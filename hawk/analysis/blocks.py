"""Evaluated runs as blocks of one comparison: which results belong together, and how they are resampled.

A benchmark may be there several times, of several runs (models). All were asked about the same images, so
an image is drawn, and swapped in tests, in all models and seeds at once: models and seeds are blocks, never
units that would make n larger. Retention is pruned ÷ baseline native value in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hawk.analysis import statistics
from hawk.analysis.evaluation_files import Evaluated, Scored
from hawk.analysis.resampling import (
    JointGroups,
    Pairing,
    bootstrap_counts,
    resampled_stack,
    resampled_values,
    rng_of,
)

BASELINE = "baseline"
MAJORITY = "majority"

Condition = tuple[str, str | None]  # variant, ratio
Cell = tuple[str, str | None, str]  # variant, ratio, benchmark
Blocks = Mapping[str, Sequence[Evaluated]]  # benchmark → what each run measured on it


def blocks_of(evaluated: Iterable[Evaluated]) -> dict[str, list[Evaluated]]:
    """By benchmark; each has its runs in the order given."""
    blocks: dict[str, list[Evaluated]] = {}
    for entry in evaluated:
        blocks.setdefault(entry.name, []).append(entry)
    return blocks


def joint_groups(blocks: Blocks) -> JointGroups:
    """The images of all benchmarks."""
    return JointGroups([runs[0].samples.groups for runs in blocks.values()])


def scored_of(results: Evaluated, variant: str, ratio: str | None) -> Scored:
    if variant in (BASELINE, MAJORITY):
        return results.baseline if variant == BASELINE else results.majority
    return results.variants[variant][str(ratio)]


def retention_by_seed(results: Evaluated, variant: str, ratio: str | None) -> np.ndarray:
    """``[seeds]``, in percent."""
    value = results.samples.benchmark.value
    natives = value(scored_of(results, variant, ratio).sums.sum(axis=1))
    return statistics.retention(natives, value(results.baseline.sums[0].sum(axis=0)))


def retention_draws(
    config: Mapping[str, Any], blocks: Blocks, conditions: Sequence[Condition]
) -> dict[str, dict[Cell, np.ndarray]]:
    """Retention in every resample, ``[resamples]``: ``own`` drawn per benchmark, ``joint`` together."""
    resamples, seed = config["statistics"]["resamples"], config["seed"]
    joint = joint_groups(blocks)
    counts = joint.counts(resamples, rng_of(seed, "retention"))
    alone = len(joint.pools) == len(blocks)  # then a joint draw is a draw within each benchmark
    draws: dict[str, dict[Cell, np.ndarray]] = {"own": {}, "joint": {}}
    for (name, runs), drawn in zip(blocks.items(), counts, strict=True):
        drawn_jointly = _draws_of(name, runs, drawn, conditions)
        draws["joint"].update(drawn_jointly)
        if alone:
            draws["own"].update(drawn_jointly)
        else:
            rng = rng_of(seed, "retention", name)
            own = bootstrap_counts(len(runs[0].samples.groups), resamples, rng)
            draws["own"].update(_draws_of(name, runs, own, conditions))
    return draws


def _draws_of(
    name: str, runs: Sequence[Evaluated], counts: np.ndarray, conditions: Sequence[Condition]
) -> dict[Cell, np.ndarray]:
    value = runs[0].samples.benchmark.value
    bases = [resampled_values(counts, results.baseline.sums[0], value) for results in runs]
    drawn = {}
    for variant, ratio in conditions:
        kept = []
        for results, base in zip(runs, bases, strict=True):
            seeds = list(resampled_stack(counts, scored_of(results, variant, ratio).sums, value))
            kept.append(statistics.retention(np.mean(seeds, axis=0), base))
        drawn[variant, ratio, name] = np.mean(kept, axis=0)
    return drawn


def pairing(results: Evaluated, first: str, second: str, ratio: str, parts: int) -> Pairing:
    """Two variants on one block, in points of retention ÷ parts, so that blocks add up to their mean."""
    value = results.samples.benchmark.value
    base = float(value(results.baseline.sums[0].sum(axis=0)))
    return Pairing.of(
        results.variants[first][ratio].sums,
        results.variants[second][ratio].sums,
        value,
        scale=100.0 / (base * parts) if base else float("nan"),
    )
