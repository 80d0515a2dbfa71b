"""How far head weights can be trusted: a null for drops and weights, and rank stability.

Min-shift subtracts a minimum of noisy numbers, so pure noise also gives unequal weights. The null
says how unequal: in every image group the two runs (reference, ablated) are swapped at random, for
all heads at once, so that what is common to all heads (a reference that was lucky on an image)
cancels there as it does in min-shift. Rank stability says how many samples are enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hawk.analysis import statistics
from hawk.analysis.drops import drop_values
from hawk.analysis.resampling import JointGroups, rng_of
from hawk.core import values
from hawk.core.errors import InputError
from hawk.core.head_weights import SIGNED
from hawk.core.heads import Head

if TYPE_CHECKING:
    from hawk.analysis.drops import Measured


NULL_FLIPS = 2000
SPLITS = 200
FRACTIONS = (0.0625, 0.125, 0.25, 0.5)  # of the images, in each of two disjoint parts

KEYS = {
    "null": (
        "per benchmark and pooled: drops against the same when reference and ablated run are "
        "swapped at random per image, for all heads at once (no head matters)"
    ),
    "spread": (
        "mean absolute deviation of the heads' drops from their mean, points; pooled: its mean "
        "over benchmarks"
    ),
    "spread_q95": "95 % quantile of the spread under the null",
    "p": "share of null spreads at least as large as the observed one, which is counted too",
    "explained_by_null": "p >= 0.05: the unequal drops are what noise alone would give",
    "distance": (
        "total variation distance of the min_shift weights to uniform, 0 (uniform) to 1 - 1/heads; "
        "it does not know how large the drops are"
    ),
    "distance_q95": "95 % quantile of the distance under the null",
    "distance_p": "as p, for the distance",
    "head_null": (
        "per weight normalization and head: mean and 2.5 % and 97.5 % quantiles of its pooled "
        "weight under the null"
    ),
    "split_half": (
        "rank correlation (Spearman) between two disjoint parts of the images, of a benchmark's "
        "drops and of the pooled min_shift weights"
    ),
    "curve": (
        "for growing parts: mean and 2.5 % and 97.5 % quantiles over random splits; a part in "
        "which all drops are equal counts as 0"
    ),
    "samples": "samples per part (pooled: per part and benchmark, on average)",
    "full": "the correlation at half of the images, stepped up to all of them (Spearman-Brown)",
    "spearman": "rank correlation of the heads' drops between two benchmarks, all samples",
}


def read_stability(path: str, ablation: str | None = None) -> tuple[str, dict[str, Any] | None]:
    """The ablation of a ``stability/{ablation}.json`` and how stable its drops are.

    None where no head of the weights' layer was measured. InputError for a damaged file, and for one that is
    not of ``ablation``.
    """
    raw = values.read_json(path, "a stability file of a run")
    try:
        content = values.mapping(raw, "the file")
        name = values.name(values.member(content, "ablation"), "ablation")
        stability_numbers = values.member(content, "stability")
        if ablation not in (None, name):
            raise InputError(f"the file says ablation {name!r}, its path says {ablation!r}.")
        if stability_numbers is not None:
            _check_stability(values.mapping(stability_numbers, "stability"), name)
    except InputError as error:
        text = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: {text} Delete the file and that of the drops, and run again.") from None
    return name, stability_numbers


def _check_stability(part: dict[str, Any], where: str) -> None:
    """The numbers that tables and figures show."""

    def section(parent: dict[str, Any], key: str, place: str) -> dict[str, Any]:
        return values.mapping(values.member(parent, key, place), f"{place}.{key}")

    def number(parent: dict[str, Any], key: str, place: str, low: float, high: float) -> None:
        values.number(values.member(parent, key, place), f"{place}.{key}", low, high)

    names = values.listed(values.member(part, "heads", where), f"{where}.heads")
    heads = [Head.parse(str(name)) for name in names]
    for key, quantiles in section(part, "head_null", where).items():
        for name in ("mean", "q025", "q975"):
            place = f"{where}.head_null.{key}"
            row = values.member(values.mapping(quantiles, place), name, place)
            for value in values.listed(row, f"{place}.{name}", len(heads)):
                values.number(value, f"{place}.{name}", -1 if key == SIGNED else 0, 1)
    null, halves = section(part, "null", where), section(part, "split_half", where)
    benchmarks = section(null, "benchmarks", f"{where}.null")
    halved = section(halves, "benchmarks", f"{where}.split_half")
    if set(halved) != set(benchmarks):
        raise InputError(f"{where}: null is of {sorted(benchmarks)}, split_half of {sorted(halved)}.")
    for key, row in {"pooled": null.get("pooled"), **benchmarks}.items():
        place = f"{where}.null.{key}"
        row = values.mapping(row, place)
        for name in ("spread", "spread_q95"):
            number(row, name, place, 0, math.inf)
        for name in ("p", "distance", "distance_q95"):
            number(row, name, place, 0, 1)
        values.choice(row.get("explained_by_null"), f"{place}.explained_by_null", (False, True))
    for key, half in {"pooled": halves.get("pooled"), **halved}.items():
        place = f"{where}.split_half.{key}.curve"
        curve = values.listed(values.mapping(half, place).get("curve"), place)
        if not curve:
            raise InputError(f"{place} is empty.")
        for point in curve:
            for name in ("correlation", "low", "high"):
                number(values.mapping(point, place), name, place, -1, 1)


def stability(parts: Sequence[Measured], ci_low: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    """Nulls, split-half correlations and Spearman between benchmarks of one ablation.

    parts: one per benchmark, heads of the layer of the weights only. ci_low: lower interval ends of their
    drops, points. Plain numbers, as described in :data:`KEYS`.
    """
    ablation = parts[0].ablation
    joint = JointGroups([part.samples.groups for part in parts])
    drops = [drop_values(part) for part in parts]
    lows = [ci_low[part.name] for part in parts]
    rng = rng_of(seed, "null", ablation)
    signs = 1.0 - 2.0 * rng.integers(0, 2, size=(NULL_FLIPS, len(joint.union)))
    flipped = [flipped_drops(part, signs[:, index]) for part, index in zip(parts, joint.index, strict=True)]
    names = [part.name for part in parts]
    pooled, curves = _split_half(parts, joint, rng_of(seed, "split", ablation))
    return {
        "heads": [str(head) for head in parts[0].heads],
        "null": _against_noise(names, drops, flipped),
        "head_null": {
            normalization: _head_null(drops, lows, flipped, normalization)
            for normalization in statistics.NORMALIZATIONS
        },
        "split_half": {
            "pooled": _with_full(pooled),
            "benchmarks": dict(zip(names, map(_with_full, curves), strict=True)),
        },
        "between_benchmarks": [
            {
                "first": names[i],
                "second": names[j],
                "spearman": _number(statistics.spearman(drops[i], drops[j])),
            }
            for i in range(len(parts))
            for j in range(i + 1, len(parts))
        ],
    }


def _against_noise(
    names: Sequence[str], drops: Sequence[np.ndarray], flipped: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Spread of the drops and distance of their min_shift weights to uniform, against flipped drops.

    The distance does not know the size of the drops: two heads that matter among many whose
    ablation changes nothing look, flipped, as unequal as they are. So the spread, in points, is
    what decides whether noise explains a benchmark. Always min_shift: under positive_significant
    one head that is significant by chance is as far from uniform as weights can be.
    """
    weights, null = (
        [statistics.normalize_drops(d, d > 0.0, statistics.MIN_SHIFT) for d in side]
        for side in (drops, flipped)
    )
    spreads, null_spreads = ([_spread(d) for d in side] for side in (drops, flipped))
    parts = zip(names, spreads, null_spreads, weights, null, strict=True)
    return {
        "pooled": _compare(
            np.mean(spreads, axis=0), np.mean(null_spreads, axis=0), _pool(weights), _pool(null)
        ),
        "benchmarks": {name: _compare(*values) for name, *values in parts},
    }


def _spread(drops: np.ndarray) -> np.ndarray:
    """Mean absolute deviation of the heads' drops from their mean, points, over the last axis."""
    return np.abs(drops - drops.mean(axis=-1, keepdims=True)).mean(axis=-1)


def _head_null(
    drops: Sequence[np.ndarray],
    lows: Sequence[np.ndarray],
    flipped: Sequence[np.ndarray],
    normalization: str,
) -> dict[str, Any]:
    """Each head's pooled weight when no head matters."""
    # Significance of a flip by the width of the observed interval, which a flip keeps.
    parts = [
        statistics.normalize_drops(f, f > d - low, normalization)
        for f, d, low in zip(flipped, drops, lows, strict=True)
    ]
    null = _pool(parts)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    return {"mean": null.mean(axis=0).tolist(), "q025": low.tolist(), "q975": high.tolist()}


def flipped_drops(part: Measured, signs: np.ndarray) -> np.ndarray:
    """Drops of all heads when groups with sign −1 have both runs swapped: ``[flips, heads]``, points."""
    flips, groups = signs.shape
    half = (part.reference_run - part.ablated) / 2.0  # [heads, groups, sums]
    middle = ((part.reference_run + part.ablated) / 2.0).sum(axis=1)  # [heads, sums]
    moved = (signs @ half.transpose(1, 0, 2).reshape(groups, -1)).reshape(flips, *middle.shape)
    return part.sign * (part.points(middle + moved) - part.points(middle - moved))


def _pool(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the benchmarks that are defined; uniform where none is."""
    stacked = np.stack(parts)
    count = (~np.isnan(stacked)).sum(axis=0)
    total = np.nansum(stacked, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0 / stacked.shape[-1])


def _compare(
    spread: np.ndarray, null_spread: np.ndarray, weights: np.ndarray, null: np.ndarray
) -> dict[str, Any]:
    # Weights that are undefined (all drops equal) count as uniform: distance 0.
    uniform = 1.0 / weights.shape[-1]
    weights, null = (np.where(np.isnan(array), uniform, array) for array in (weights, null))
    distance, drawn = statistics.distance_to_uniform(weights), statistics.distance_to_uniform(null)
    p = _share(null_spread, spread)
    return {
        "spread": float(spread),
        "spread_q95": float(np.quantile(null_spread, 0.95)),
        "p": p,
        "explained_by_null": p >= 0.05,
        "distance": float(distance),
        "distance_q95": float(np.quantile(drawn, 0.95)),
        "distance_p": _share(drawn, distance),
    }


def _share(null: np.ndarray, observed: np.ndarray) -> float:
    return float((1 + int((null >= observed - 1e-12).sum())) / (1 + len(null)))


def _split_half(
    parts: Sequence[Measured], joint: JointGroups, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Curves of rank correlation against part size: of the pooled weights, and of each benchmark's drops."""
    orders = [rng.permutation(len(joint.union)) for _ in range(SPLITS)]
    pooled: list[dict[str, Any]] = []
    curves: list[list[dict[str, Any]]] = [[] for _ in parts]
    for fraction in FRACTIONS:
        sides: list[list[np.ndarray]] = [[], []]
        sizes = []
        for number, (part, index) in enumerate(zip(parts, joint.index, strict=True)):
            masks = np.zeros((2, SPLITS, len(joint.union)))
            for split, order in enumerate(orders):
                # The same order for all benchmarks: a shared image is on one side everywhere.
                benchmark_order = order[np.isin(order, index)]
                size = max(1, int(len(benchmark_order) * fraction))
                masks[0, split, benchmark_order[:size]] = 1.0
                masks[1, split, benchmark_order[-size:]] = 1.0
            rows = np.bincount(part.samples.codes, minlength=len(index))
            sizes.append(float((masks[0][:, index] @ rows).mean()))
            drops = [_part_drops(part, mask[:, index]) for mask in masks]
            for side, own in zip(sides, drops, strict=True):
                side.append(own)
            curves[number].append(_curve_point(drops[0], drops[1], fraction, sizes[-1]))
        # Significance cannot be known on a part without a bootstrap of it: min-shift for ranks.
        weights = [
            _pool([statistics.normalize_drops(d, d > 0.0, statistics.MIN_SHIFT) for d in side])
            for side in sides
        ]
        pooled.append(_curve_point(weights[0], weights[1], fraction, float(np.mean(sizes))))
    return pooled, curves


def _part_drops(part: Measured, mask: np.ndarray) -> np.ndarray:
    """Drops ``[splits, heads]`` over the groups where mask ``[splits, groups]`` is 1; NaN if undefined."""
    splits, groups = mask.shape
    sums = (mask @ part.ablated.transpose(1, 0, 2).reshape(groups, -1)).reshape(splits, len(part.heads), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return part.sign * (part.points(mask @ part.reference_run)[:, None] - part.points(sums))


def _curve_point(first: np.ndarray, second: np.ndarray, fraction: float, samples: float) -> dict[str, Any]:
    # A part in which all drops are equal (or the aggregate undefined) ranks nothing: it counts as
    # 0, since leaving it out would make few samples look more reliable than they are.
    values = np.nan_to_num(statistics.spearman(first, second), nan=0.0)
    low, high = np.quantile(values, [0.025, 0.975])
    return {
        "fraction": fraction,
        "samples": round(samples, 1),
        "correlation": float(values.mean()),
        "low": float(low),
        "high": float(high),
    }


def _with_full(curve: list[dict[str, Any]]) -> dict[str, Any]:
    return {"curve": curve, "full": _spearman_brown(curve[-1]["correlation"])}


def _spearman_brown(half: float) -> float:
    return half if half <= 0.0 else 2.0 * half / (1.0 + half)


def _number(value: Any) -> float | None:
    """JSON has no NaN: undefined is null."""
    return float(value) if np.isfinite(value) else None
