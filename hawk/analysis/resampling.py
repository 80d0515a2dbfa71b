"""Resampling by image: group bootstrap and paired sign-flip tests over sums. Numpy only.

Rows that show the same image (``group_id``) are not independent, so the image is what is drawn.
A benchmark gives each row's share of some sums and a ``value`` of these sums
(:mod:`hawk.benchmarks.base`). Summed once per group, a resample is a vector of group counts times
these sums: thousands of resamples of any aggregate, linear or not, are one matrix product.

Shapes: ``[groups, sums]`` holds one scored run; ``sums`` is the benchmark's own number of sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hawk.core.errors import InputError


def rng_of(seed: int, *names: str) -> np.random.Generator:
    """A generator that depends on the run's seed and on what it is for, not on the order of calls."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


Value = Callable[[np.ndarray], np.ndarray]  # sums [..., sums] → native value [...]

EXACT_GROUPS = 16  # up to here all 2^groups sign flips are enumerated
_CHUNK = 4_000_000  # elements of a matrix of signs held at once (32 MB)


class Interval(NamedTuple):
    low: float
    high: float


def group_codes(group_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The distinct groups, sorted, and each row's index among them (int ``[rows]``)."""
    groups, codes = np.unique(np.asarray(group_ids, dtype=object).astype(str), return_inverse=True)
    return groups, codes


def group_sums(contributions: np.ndarray, codes: np.ndarray, groups: int) -> np.ndarray:
    """Row contributions ``[rows, sums]`` added up per group → ``[groups, sums]``."""
    columns = [np.bincount(codes, weights=column, minlength=groups) for column in contributions.T]
    return np.stack(columns, axis=1)


def bootstrap_counts(groups: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each group is drawn, with replacement: float ``[resamples, groups]``, rows sum to groups."""
    if groups < 1:
        raise InputError("a bootstrap needs at least one group; the benchmark has no sample.")
    draws = rng.multinomial(groups, np.full(groups, 1.0 / groups), size=resamples)
    return draws.astype(np.float64)


def resampled_values(counts: np.ndarray, sums: np.ndarray, value: Value) -> np.ndarray:
    """Aggregate of every resample: ``[resamples, groups] × [groups, sums]`` → ``[resamples]``.

    A resample in which the aggregate is undefined (no row of a category) is NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(value(counts @ sums), dtype=np.float64)


def resampled_stack(counts: np.ndarray, stack: np.ndarray, value: Value) -> Iterator[np.ndarray]:
    """:func:`resampled_values` of each run in ``[runs, groups, sums]``, some runs per matrix product.

    One product per run would read the counts from memory once per run, which for thousands of
    runs is most of the time.
    """
    runs, groups, width = stack.shape
    step = max(1, _CHUNK // (len(counts) * width))
    for start in range(0, runs, step):
        part = stack[start : start + step].transpose(1, 0, 2)  # [groups, some runs, sums]
        totals = (counts @ part.reshape(groups, -1)).reshape(len(counts), -1, width)
        with np.errstate(divide="ignore", invalid="ignore"):
            yield from np.asarray(value(totals), dtype=np.float64).T


def percentile_interval(draws: np.ndarray, confidence: float) -> np.ndarray:
    """Percentile interval over the last axis: ``[..., draws]`` → ``[..., 2]``. Undefined draws are left out.

    All undefined gives NaN, never a guess.
    """
    tail = 100.0 * (1.0 - confidence) / 2.0
    draws = np.asarray(draws, dtype=np.float64)
    if np.isnan(draws).any():
        empty = np.isnan(draws).all(axis=-1, keepdims=True)
        filled = np.where(empty, 0.0, draws)
        bounds = np.nanpercentile(filled, [tail, 100.0 - tail], axis=-1)
        bounds = np.where(empty[..., 0], np.nan, bounds)
    else:
        bounds = np.percentile(draws, [tail, 100.0 - tail], axis=-1)
    return np.moveaxis(bounds, 0, -1)


class JointGroups:
    """The groups of several benchmarks, so that a shared image is drawn (or flipped) in all at once.

    Benchmarks connected by a shared group form one pool; each pool is drawn from its union of
    groups. Without sharing this is the ordinary bootstrap within each benchmark.
    """

    def __init__(self, groups: Sequence[np.ndarray]) -> None:
        self.union = np.unique(np.concatenate([np.asarray(group_ids, dtype=str) for group_ids in groups]))
        self.index = [np.searchsorted(self.union, np.asarray(group_ids, dtype=str)) for group_ids in groups]
        self.pools = self._pools()

    def _pools(self) -> list[np.ndarray]:
        label = np.arange(len(self.index))
        owner: dict[int, int] = {}
        for number, members in enumerate(self.index):
            for other in {owner[m] for m in members.tolist() if m in owner}:
                label[label == label[other]] = label[number]
            owner.update(dict.fromkeys(members.tolist(), number))
        return [
            np.unique(np.concatenate([self.index[i] for i in np.flatnonzero(label == number)]))
            for number in dict.fromkeys(label.tolist())
        ]

    def counts(self, resamples: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Bootstrap counts per benchmark, each ``[resamples, its groups]``, drawn jointly."""
        drawn = np.zeros((resamples, len(self.union)))
        for pool in self.pools:
            drawn[:, pool] = bootstrap_counts(len(pool), resamples, rng)
        return [drawn[:, index] for index in self.index]


# --- the paired sign-flip test --------------------------------------------------------------------


class Pairing(NamedTuple):
    """One comparison on one benchmark: sums of the two methods, ``[seeds, groups, sums]`` each.

    Seeds are paired one to one; a method without seeds has one. ``value`` and ``scale`` turn sums
    into the unit of the statistic.
    """

    first: np.ndarray
    second: np.ndarray
    value: Value
    scale: float = 1.0

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray, value: Value, scale: float = 1.0) -> Pairing:
        """Pair seeds one to one if there are equally many, else every seed with every other."""
        if len(first) != len(second):
            seeds = (len(first), len(second))
            first = np.repeat(first, seeds[1], axis=0)
            second = np.tile(second, (seeds[0], 1, 1))
        return cls(first, second, value, scale)

    def differing(self) -> np.ndarray:
        """Which groups change anything when the two methods are swapped there: bool ``[groups]``."""
        return (self.first != self.second).any(axis=(0, 2))

    def statistic(self, signs: np.ndarray) -> np.ndarray:
        """Mean difference over seeds after swapping where the sign is −1: ``[groups, flips]`` → ``[flips]``.

        With b = (A + B)/2 and d = (A − B)/2 per group, the swapped totals are Σb ± Σ s·d.
        """
        seeds, groups, width = self.first.shape
        middle = ((self.first + self.second) / 2.0).sum(axis=1)  # [seeds, sums]
        half = ((self.first - self.second) / 2.0).transpose(0, 2, 1).reshape(-1, groups)
        moved = (half @ signs).T.reshape(-1, seeds, width)  # [flips, seeds, sums]
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = self.value(middle + moved) - self.value(middle - moved)
        return self.scale * np.asarray(gap, dtype=np.float64).mean(axis=1)

    def reduced(self) -> tuple[Pairing, np.ndarray]:
        """The same statistic over fewer groups, and which they are.

        Groups in which the methods are equal count whatever their sign: they are added up into
        the first one that is kept.
        """
        keep = self.differing()
        keep[0] = True
        first, second = self.first[:, keep].copy(), self.second[:, keep].copy()
        first[:, 0] += self.first[:, ~keep].sum(axis=1)
        second[:, 0] += self.second[:, ~keep].sum(axis=1)
        return self._replace(first=first, second=second), np.flatnonzero(keep)


def flips_needed(comparisons: int) -> int:
    """Random flips so that the smallest possible p can still pass Holm over ``comparisons`` tests."""
    return max(10_000, 200 * comparisons)


def sign_flip_pvalues(
    comparisons: Sequence[Sequence[tuple[Pairing, np.ndarray]]],
    groups: int,
    flips: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Two-sided p of each comparison under "which method is which is a coin flip per group".

    A comparison is a list of (pairing, index of its groups among ``groups``); the statistic is the
    sum of its parts, so that several benchmarks that share images flip them together. Exact when
    at most 16 groups differ at all (swapping equal rows changes nothing); otherwise ``flips``
    random ones, counting the observed order itself: p = (1 + exceed) / (1 + flips).
    """
    pvalues = np.ones(len(comparisons))
    random: list[int] = []
    comparisons = [
        [(small, index[kept]) for (small, kept), index in ((p.reduced(), i) for p, i in parts)]
        for parts in comparisons
    ]
    for number, parts in enumerate(comparisons):
        differing = _differing(parts)
        if len(differing) <= EXACT_GROUPS:
            pvalues[number] = _exact(parts, differing, groups)
        else:
            random.append(number)
    if not random:
        return pvalues
    observed = {i: abs(_statistic(comparisons[i], np.ones((groups, 1)))[0]) for i in random}
    exceed = dict.fromkeys(random, 0)
    for signs in _random_signs(flips, groups, rng):
        for i in random:
            flipped = np.abs(_statistic(comparisons[i], signs))
            exceed[i] += int(_reaches(flipped, observed[i]).sum())
    for i in random:
        pvalues[i] = (1 + exceed[i]) / (1 + flips)
    return pvalues


def _statistic(parts: Sequence[tuple[Pairing, np.ndarray]], signs: np.ndarray) -> np.ndarray:
    return sum(pairing.statistic(signs[index]) for pairing, index in parts)  # type: ignore[return-value]


def _differing(parts: Sequence[tuple[Pairing, np.ndarray]]) -> np.ndarray:
    return np.unique(np.concatenate([index[pairing.differing()] for pairing, index in parts]))


def _reaches(flipped: np.ndarray, observed: float | np.ndarray) -> np.ndarray:
    # Equal by arithmetic may differ in the last bits; counting them as equal is the safe side.
    # An undefined flip counts as reaching for the same reason.
    return ~(flipped < observed - 1e-9 * np.maximum(1.0, observed))


def _exact(parts: Sequence[tuple[Pairing, np.ndarray]], differing: np.ndarray, groups: int) -> float:
    observed = abs(_statistic(parts, np.ones((groups, 1)))[0])
    patterns = 2 ** len(differing)
    bits = (np.arange(patterns)[:, None] >> np.arange(len(differing))) & 1
    reached = 0
    step = max(1, _CHUNK // groups)
    for start in range(0, patterns, step):
        signs = np.ones((groups, min(step, patterns - start)))
        signs[differing] = 1.0 - 2.0 * bits[start : start + step].T
        reached += int(_reaches(np.abs(_statistic(parts, signs)), observed).sum())
    return reached / patterns


def _random_signs(flips: int, groups: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // groups)
    for start in range(0, flips, step):
        size = (groups, min(step, flips - start))
        yield 1.0 - 2.0 * rng.integers(0, 2, size=size, dtype=np.int8).astype(np.float64)
