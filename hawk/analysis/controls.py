"""Calibrated HAWK against every control: a method that does not beat these has shown nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hawk.analysis.evaluation_files import canonical_ratio
from hawk.analysis.resampling import percentile_interval

Cell = tuple[str, str | None, str]  # variant, ratio, benchmark


def is_control(variant: Mapping[str, Any]) -> bool:
    """Whether a variant is one that any calibrated method must beat."""
    if variant["method"] in ("random", "grid", "downscale", "blind"):
        return True
    changed = variant.get("permute") or variant.get("shuffle_query") or variant.get("rope")
    return variant["method"] == "hawk" and bool(changed or variant.get("weights", "uniform") == "uniform")


def is_calibrated(variant: Mapping[str, Any]) -> bool:
    """HAWK with weights from ablation, nothing about it disturbed."""
    return variant["method"] == "hawk" and not is_control(variant)


def control_rows(
    config: Mapping[str, Any],
    retention: Mapping[tuple[str, str | None], float],
    draws: Mapping[Cell, np.ndarray],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Every calibrated variant against every control, overall: paired difference and interval.

    retention: overall, by variant and ratio. draws: by variant, ratio and benchmark, in joint
    resamples. Described, not tested: the declared family is the one against ``evaluation.reference``.
    """
    confidence = config["statistics"]["confidence"]
    variants = config["evaluation"]["variants"]
    found = []
    for one in filter(is_calibrated, variants):
        for control in filter(is_control, variants):
            for ratio in map(canonical_ratio, config["evaluation"]["ratios"]):
                gap = np.mean(
                    [draws[one["name"], ratio, name] - draws[control["name"], ratio, name] for name in names],
                    axis=0,
                )
                low, high = percentile_interval(gap, confidence)
                found.append(
                    {
                        "variant": one["name"],
                        "control": control["name"],
                        "pruning_ratio": ratio,
                        "difference": retention[one["name"], ratio] - retention[control["name"], ratio],
                        "difference_low": float(low),
                        "difference_high": float(high),
                    }
                )
    return found
