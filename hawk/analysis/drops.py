"""The step ``head_drops``: from score files to one drop per benchmark, intervention and head.

A drop is reference − ablated, paired over the same samples, in points of 100 · native / native_max,
with a bootstrap interval over images. Each intervention is measured against its own reference: the
untouched model for ``zero`` and ``mean``, the model pruned with uniform weights for ``selection``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hawk.analysis import statistics
from hawk.analysis.resampling import (
    Interval,
    bootstrap_counts,
    percentile_interval,
    resampled_stack,
    resampled_values,
)
from hawk.analysis.score_files import (
    SampleIndex,
)
from hawk.core.heads import Head, head_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One benchmark × intervention: everything that its statistics need, summed per image."""

    samples: SampleIndex
    intervention: str
    heads: tuple[Head, ...]
    reference_run: np.ndarray  # [groups, sums]
    ablated: np.ndarray  # [heads, groups, sums]
    logprob_drop: np.ndarray  # [heads], nats per sample
    unparsed: np.ndarray  # [heads]
    noise_floor: float  # points

    @property
    def name(self) -> str:
        return self.samples.benchmark.name

    def only(self, keep: np.ndarray) -> Measured:
        """The heads where ``keep`` (bool ``[heads]``) is true."""
        return replace(
            self,
            heads=tuple(h for h, kept in zip(self.heads, keep, strict=True) if kept),
            ablated=self.ablated[keep],
            logprob_drop=self.logprob_drop[keep],
            unparsed=self.unparsed[keep],
        )

    def points(self, sums: np.ndarray) -> np.ndarray:
        """Aggregate of sums ``[..., sums]`` in points."""
        benchmark = self.samples.benchmark
        return statistics.points(benchmark.value(sums), benchmark.native_max)


def ablated_heads(config: Mapping[str, Any], intervention: str) -> tuple[Head, ...]:
    """The heads of a run, in the order of tables. ``selection`` exists at the scoring layer only."""
    ablation, model = config["ablation"], config["model"]
    layers = sorted(ablation["layers"])
    if intervention == "selection":
        layers = [layer for layer in layers if layer == config["scoring"]["layer"]]
    chosen = ablation["heads"]
    return tuple(
        head for head in head_table(layers, model["heads"]) if chosen == "all" or head.index in chosen
    )


def drop_values(measured: Measured) -> np.ndarray:
    """The drops of all heads, points, ``[heads]``."""
    reference_points = measured.points(measured.reference_run.sum(axis=0))
    return reference_points - measured.points(measured.ablated.sum(axis=1))


def drop_intervals(
    measured: Measured, resamples: int, confidence: float, rng: np.random.Generator
) -> list[Interval]:
    """Percentile interval of each head's paired drop; reference and ablated draw the same images."""
    counts = bootstrap_counts(len(measured.samples.groups), resamples, rng)
    benchmark = measured.samples.benchmark
    base = resampled_values(counts, measured.reference_run, benchmark.value)
    intervals = []
    for values in resampled_stack(counts, measured.ablated, benchmark.value):
        gap = statistics.points(base - values, benchmark.native_max)
        intervals.append(Interval(*percentile_interval(gap, confidence).tolist()))
    return intervals


def drop_rows(measured: Measured, intervals: Sequence[Interval]) -> list[dict[str, Any]]:
    """The rows of ``drops.parquet`` for one benchmark × intervention."""
    benchmark = measured.samples.benchmark
    reference = float(benchmark.value(measured.reference_run.sum(axis=0)))
    rows = []
    for number, (head, drop, interval) in enumerate(
        zip(measured.heads, drop_values(measured).tolist(), intervals, strict=True)
    ):
        rows.append(
            {
                "benchmark": measured.name,
                "intervention": measured.intervention,
                "layer": head.layer,
                "head": head.index,
                "reference_value": reference,
                "ablated_value": float(benchmark.value(measured.ablated[number].sum(axis=0))),
                "drop": drop,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "logprob_drop": float(measured.logprob_drop[number]),
                "samples": len(measured.samples.frame),
                "groups": len(measured.samples.groups),
                "unparsed": int(measured.unparsed[number]),
                "noise_floor": measured.noise_floor,
                "is_noise": statistics.is_noise(drop, *interval, measured.noise_floor),
            }
        )
    return rows
