"""The step ``head_drops``: from score files to one drop per benchmark, ablation and head.

A drop is paired over the same samples, in points of 100 · native / native_max, with a bootstrap
interval over images. Each ablation is measured against its own reference: the untouched model for
``zero`` and ``mean``, the model pruned with uniform weights for ``selection`` and ``keep_only``.

More always speaks for the head. Where it is switched off or left out that is reference − ablated, what
is lost without it. ``keep_only`` lets it choose the tokens alone, and more retained is better: there the
sign is turned, ablated − reference. Min-shift takes the smallest of a benchmark's drops from all, which
cancels the common reference: its weights are those of the retained values themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from hawk.core.heads import Head

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One benchmark × ablation: everything that its statistics need, summed per image."""

    samples: SampleIndex
    ablation: str
    intervention: str
    heads: tuple[Head, ...]
    reference_run: np.ndarray  # [groups, sums]
    ablated: np.ndarray  # [heads, groups, sums]
    logprob_gap: np.ndarray  # [heads, groups], nats: reference − ablated, summed over samples
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
            logprob_gap=self.logprob_gap[keep],
            unparsed=self.unparsed[keep],
        )

    def points(self, sums: np.ndarray) -> np.ndarray:
        """Aggregate of sums ``[..., sums]`` in points."""
        benchmark = self.samples.benchmark
        return statistics.points(benchmark.value(sums), benchmark.native_max)

    @property
    def sign(self) -> float:
        """Of reference − ablated, so that more speaks for the head."""
        return -1.0 if self.intervention == "keep_only" else 1.0


def drop_values(measured: Measured) -> np.ndarray:
    """The drops of all heads, points, ``[heads]``."""
    reference_points = measured.points(measured.reference_run.sum(axis=0))
    drops = measured.sign * (reference_points - measured.points(measured.ablated.sum(axis=1)))
    return drops + 0.0  # no -0.0


def drop_intervals(
    measured: Measured, resamples: int, confidence: float, rng: np.random.Generator
) -> tuple[list[Interval], list[Interval]]:
    """Percentile interval of each head's paired drop, and of its drop in log-probability.

    Reference and ablated draw the same images.
    """
    counts = bootstrap_counts(len(measured.samples.groups), resamples, rng)
    benchmark = measured.samples.benchmark
    base = resampled_values(counts, measured.reference_run, benchmark.value)
    intervals = []
    for values in resampled_stack(counts, measured.ablated, benchmark.value):
        gap = measured.sign * statistics.points(base - values, benchmark.native_max)
        intervals.append(Interval(*percentile_interval(gap, confidence).tolist()))
    rows = np.bincount(measured.samples.codes, minlength=len(measured.samples.groups))
    drawn = measured.sign * (measured.logprob_gap @ counts.T) / (counts @ rows)  # [heads, resamples]
    return intervals, [Interval(*one) for one in percentile_interval(drawn, confidence).tolist()]


def logprob_drops(measured: Measured) -> np.ndarray:
    """The mean drop of the reference answer's log-probability, nats per sample, ``[heads]``."""
    return measured.sign * measured.logprob_gap.sum(axis=1) / len(measured.samples.frame)


def drop_rows(
    measured: Measured, intervals: Sequence[Interval], logprob: Sequence[Interval]
) -> list[dict[str, Any]]:
    """The rows of ``drops/{ablation}.parquet`` for one benchmark."""
    benchmark = measured.samples.benchmark
    reference = float(benchmark.value(measured.reference_run.sum(axis=0)))
    rows, nats = [], logprob_drops(measured)
    for number, (head, drop, interval) in enumerate(
        zip(measured.heads, drop_values(measured).tolist(), intervals, strict=True)
    ):
        rows.append(
            {
                "benchmark": measured.name,
                "ablation": measured.ablation,
                "intervention": measured.intervention,
                "layer": head.layer,
                "head": head.index,
                "reference_value": reference,
                "ablated_value": float(benchmark.value(measured.ablated[number].sum(axis=0))),
                "drop": drop,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "logprob_drop": float(nats[number]),
                "logprob_low": logprob[number].low,
                "logprob_high": logprob[number].high,
                "samples": len(measured.samples.frame),
                "groups": len(measured.samples.groups),
                "unparsed": int(measured.unparsed[number]),
                "noise_floor": measured.noise_floor,
                "is_noise": statistics.is_noise(drop, *interval, measured.noise_floor),
            }
        )
    return rows
