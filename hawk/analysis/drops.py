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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hawk.analysis import statistics
from hawk.analysis.resampling import (
    Interval,
    bootstrap_counts,
    group_sums,
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
class Gap:
    """Reference − ablated of a number that every sample has, or may lack, summed per image."""

    sums: np.ndarray  # [heads, groups]
    counts: np.ndarray  # [groups], samples that have it

    @classmethod
    def of(cls, gaps: np.ndarray, samples: SampleIndex) -> Gap:
        """From ``[heads, samples]``, nan where a sample lacks it, which it does under every head."""
        has_drop = np.isfinite(gaps[0])
        return cls(
            group_sums(np.where(has_drop, gaps, 0.0).T, samples.codes, len(samples.groups)).T,
            group_sums(has_drop[:, None].astype(float), samples.codes, len(samples.groups))[:, 0],
        )

    def only(self, keep: np.ndarray) -> Gap:
        return replace(self, sums=self.sums[keep])

    def means(self, counts: np.ndarray) -> np.ndarray:
        """Per sample, of images drawn so often (``[resamples, groups]``): ``[heads, resamples]``.

        nan where no drawn sample has it.
        """
        samples = counts @ self.counts
        return (self.sums @ counts.T) / np.where(samples > 0, samples, np.nan)


@dataclass(frozen=True)
class Measured:
    """One benchmark × ablation: everything that its statistics need, summed per image."""

    samples: SampleIndex
    ablation: str
    intervention: str
    heads: tuple[Head, ...]
    reference_run: np.ndarray  # [groups, sums]
    ablated: np.ndarray  # [heads, groups, sums]
    gaps: Mapping[str, Gap]  # nats: of the reference answer's log-probability, and of its margin
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
            gaps={name: gap.only(keep) for name, gap in self.gaps.items()},
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
) -> tuple[list[Interval], dict[str, list[Interval]]]:
    """Percentile interval of each head's paired drop, and of its drop in every number of ``gaps``.

    Reference and ablated draw the same images.
    """
    counts = bootstrap_counts(len(measured.samples.groups), resamples, rng)
    benchmark = measured.samples.benchmark
    base = resampled_values(counts, measured.reference_run, benchmark.value)
    intervals = []
    for values in resampled_stack(counts, measured.ablated, benchmark.value):
        gap = measured.sign * statistics.points(base - values, benchmark.native_max)
        intervals.append(Interval(*percentile_interval(gap, confidence).tolist()))
    drawn = {
        name: percentile_interval(measured.sign * gap.means(counts), confidence)
        for name, gap in measured.gaps.items()
    }
    return intervals, {name: [Interval(*pair) for pair in ends.tolist()] for name, ends in drawn.items()}


def drop_rows(
    measured: Measured, intervals: Sequence[Interval], gap_intervals: Mapping[str, Sequence[Interval]]
) -> list[dict[str, Any]]:
    """The rows of ``drops/{ablation}.parquet`` for one benchmark."""
    benchmark = measured.samples.benchmark
    reference = float(benchmark.value(measured.reference_run.sum(axis=0)))
    once = np.ones((1, len(measured.samples.groups)))
    nats = {name: measured.sign * gap.means(once)[:, 0] for name, gap in measured.gaps.items()}
    rows = []
    for number, (head, drop, interval) in enumerate(
        zip(measured.heads, drop_values(measured).tolist(), intervals, strict=True)
    ):
        row = {
            "benchmark": measured.name,
            "ablation": measured.ablation,
            "intervention": measured.intervention,
            "estimate": False,
            "layer": head.layer,
            "head": head.index,
            "reference_value": reference,
            "ablated_value": float(benchmark.value(measured.ablated[number].sum(axis=0))),
            "drop": drop,
            "ci_low": interval.low,
            "ci_high": interval.high,
            "samples": len(measured.samples.frame),
            "groups": len(measured.samples.groups),
            "unparsed": int(measured.unparsed[number]),
            "noise_floor": measured.noise_floor,
            "is_noise": statistics.is_noise(drop, *interval, measured.noise_floor),
        }
        for name, mean in nats.items():
            low, high = gap_intervals[name][number]
            ends = {"drop": float(mean[number]), "low": low, "high": high}
            row |= {f"{name}_{end}": None if np.isnan(value) else value for end, value in ends.items()}
        rows.append(row)
    return rows


def estimate_rows(
    samples: SampleIndex,
    ablation: Mapping[str, Any],
    heads: Sequence[Head],
    gap: Gap,
    size: Gap,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """The rows of one benchmark for an ablation that switched nothing off: estimated drops in the margin.

    gap and size: of the samples' drops, and of their absolute values.

    The interval is of the estimate over other images. It does not know how far a gradient is from the truth.
    """
    counts = bootstrap_counts(len(samples.groups), resamples, rng)
    once = np.ones((1, len(samples.groups)))
    means, sizes = gap.means(once)[:, 0], size.means(once)[:, 0]
    ends = percentile_interval(gap.means(counts), confidence)
    rows = []
    for number, (head, (low, high)) in enumerate(zip(heads, ends.tolist(), strict=True)):
        nats = {"margin_drop": float(means[number]), "margin_low": low, "margin_high": high}
        nats["margin_size"] = float(sizes[number])
        rows.append(
            {
                "benchmark": samples.benchmark.name,
                "ablation": ablation["name"],
                "intervention": ablation["intervention"],
                "estimate": True,
                "layer": head.layer,
                "head": head.index,
                "samples": len(samples.frame),
                "groups": len(samples.groups),
                **{key: None if np.isnan(value) else value for key, value in nats.items()},
            }
        )
    return rows
