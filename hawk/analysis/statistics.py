"""What a drop, a head weight and "better" mean in numbers. Numpy and scipy only, no torch.

Head weights follow HAWK (arXiv 2604.07812, section 3): per calibration benchmark the drops of all
heads are shifted by their minimum and scaled to sum 1; the weight of a head is the mean over
benchmarks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import SIGNED, UNIFORM

log = logging.getLogger(__name__)

MIN_SHIFT = "min_shift"
POSITIVE_SIGNIFICANT = "positive_significant"
NORMALIZATIONS = (MIN_SHIFT, POSITIVE_SIGNIFICANT, SIGNED)  # of drops; UNIFORM reads none


def points(native: np.ndarray | float, native_max: float) -> np.ndarray:
    """Native values in points of 100 · native / native_max."""
    return 100.0 * np.asarray(native, dtype=np.float64) / native_max


def noise_floor(flips: float, samples: int) -> float:
    """100 · 1.96 · sqrt(flips / n) / sqrt(n) points; 0 when reference and repeat agree everywhere.

    ``flips`` is the number of samples whose score differs between the two (its mean over repeats).
    """
    return float(100.0 * 1.96 * np.sqrt(flips / samples) / np.sqrt(samples))


def is_noise(drop: float, low: float, high: float, floor: float) -> bool:
    """A cell is noise when its paired interval contains 0 or the drop is within the noise floor."""
    return bool(not (low > 0.0 or high < 0.0) or abs(drop) <= floor)


# --- weights ----------------------------------------------------------------------------------------


def normalize_drops(drops: np.ndarray, significant: np.ndarray, normalization: str) -> np.ndarray:
    """One benchmark's drops → weights whose sizes sum to 1, over the last axis; NaN where undefined.

    drops: points, ``[..., heads]``. significant: bool, same shape: the drop's interval lies above 0.
    ``min_shift``: (d − min d) / Σ; undefined when all drops are equal. ``positive_significant``:
    drops that are not significant count 0; undefined when none is left (the caller decides). ``signed``:
    d / Σ|d|, so that a head which does harm counts against a token.
    """
    if normalization == MIN_SHIFT:
        shifted = drops - drops.min(axis=-1, keepdims=True)
    elif normalization == POSITIVE_SIGNIFICANT:
        shifted = np.where(significant, np.maximum(drops, 0.0), 0.0)
    elif normalization == SIGNED:
        shifted = drops
    else:
        raise unknown("normalization of weights", normalization, NORMALIZATIONS)
    total = np.abs(shifted).sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0.0, shifted / total, np.nan)


def pooled_weights(
    drops: Mapping[str, np.ndarray], ci_low: Mapping[str, np.ndarray], normalization: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Weights ``[heads]`` and their per-benchmark parts from drops and lower interval ends.

    A benchmark whose drops are all equal says nothing about heads and is left out with a warning.
    Under ``positive_significant`` a benchmark without a significant head is left out too, and if
    no benchmark has one the weights are uniform. InputError if every benchmark has zero range.
    Under ``uniform`` the drops say nothing, and no benchmark has a part.
    """
    if normalization == UNIFORM:
        return _equal(drops), {}
    parts: dict[str, np.ndarray] = {}
    flat: list[str] = []
    for name, values in drops.items():
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"{name}: head {int(np.argmin(np.isfinite(values)))} has no finite drop.")
        if np.ptp(values) == 0.0:
            flat.append(name)
            log.warning("%s: all %d drops are equal; left out of the weights.", name, len(values))
            continue
        part = normalize_drops(values, np.asarray(ci_low[name]) > 0.0, normalization)
        if np.isnan(part).any():
            log.warning("%s: no head has a significant drop; left out of the weights.", name)
            continue
        parts[name] = part
    if len(flat) == len(drops):
        raise InputError(
            f"drops: in every benchmark ({', '.join(drops) or 'none'}) all heads have the same drop, "
            "so nothing tells heads apart. Use more calibration samples, or check that the "
            "intervention does anything."
        )
    if not parts:
        log.warning("No head has a significant drop on any benchmark: the weights are uniform.")
        return _equal(drops), {}
    pooled = np.mean(list(parts.values()), axis=0)
    return pooled / np.abs(pooled).sum() if normalization == SIGNED else pooled, parts


def _equal(drops: Mapping[str, np.ndarray]) -> np.ndarray:
    heads = len(next(iter(drops.values())))
    return np.full(heads, 1.0 / heads)


def layer_shares(scores: Sequence[Mapping[str, float]]) -> list[float]:
    """Per layer the mean over benchmarks of its score, as a share of the best layer's there.

    scores: per layer, by benchmark, as native values; their scales differ. A benchmark on which every layer
    scores 0 tells none apart.
    """
    best = {name: max(one[name] for one in scores) for name in scores[0]}
    return [
        float(np.mean([one[name] / best[name] if best[name] > 0.0 else 1.0 for name in best]))
        for one in scores
    ]


def distance_to_uniform(weights: np.ndarray) -> np.ndarray:
    """Total variation distance ½ Σ |w − 1/heads| over the last axis: 0 uniform, 1 − 1/heads one head."""
    heads = weights.shape[-1]
    return 0.5 * np.abs(weights - 1.0 / heads).sum(axis=-1)


# --- ranks ------------------------------------------------------------------------------------------


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation over the last axis, ties averaged; NaN where one side is constant."""
    from scipy import stats  # most of a second: only for the step that ranks

    # Rounded, so that drops equal but for the last bit are ties; NaN stays NaN in its whole row.
    ranks = [
        stats.rankdata(np.round(np.asarray(values, dtype=np.float64), 9), axis=-1)
        for values in (first, second)
    ]
    a, b = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
        return np.where(scale > 0.0, (a * b).sum(axis=-1) / scale, np.nan)


# --- comparisons ------------------------------------------------------------------------------------


def holm(pvalues: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values of one family; NaN stays NaN and counts in the family."""
    p = np.asarray(pvalues, dtype=np.float64)
    order = np.argsort(np.where(np.isnan(p), np.inf, p), kind="stable")
    scaled = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def win_tie_loss(first: np.ndarray, second: np.ndarray) -> tuple[int, int, int]:
    """Samples on which the first score is higher, equal, lower (equal up to 1e-9)."""
    gap = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    wins, losses = int((gap > 1e-9).sum()), int((gap < -1e-9).sum())
    return wins, gap.size - wins - losses, losses


def retention(pruned: np.ndarray | float, baseline: np.ndarray | float) -> np.ndarray:
    """Pruned ÷ baseline native value in percent; NaN where the baseline is 0."""
    pruned, baseline = np.asarray(pruned, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(baseline != 0.0, 100.0 * pruned / baseline, np.nan)


def verdict(difference: float, p_adjusted: float, level: float = 0.05) -> str:
    """``better`` or ``worse`` if and only if the Holm-adjusted p is below the level; else ``—``."""
    if not p_adjusted < level:
        return "—"
    return "better" if difference > 0.0 else "worse"
