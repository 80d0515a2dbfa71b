"""Calibrated HAWK against every control: a method that does not beat these has shown nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hawk.analysis.blocks import Cell
from hawk.analysis.resampling import percentile_interval
from hawk.core.schemas import described
from hawk.core.variants import uniform_recipes, with_uniform
from hawk.pruning import REGISTRY
from hawk.pruning.budget import ratio_text
from hawk.pruning.options import facts

# The columns of tables/controls, and what each holds.
CONTROLS, CONTROLS_MEANINGS = described(
    [
        ("variant", pa.string(), "A variant with calibrated weights."),
        ("control", pa.string(), "The control that it is compared with."),
        ("pruning_ratio", pa.string(), "Fraction of visual tokens removed, as an exact decimal."),
        ("difference", pa.float64(), "Overall, in points of retention. Described, not tested."),
        ("difference_low", pa.float64(), "Lower end of its interval."),
        ("difference_high", pa.float64(), "Upper end of its interval."),
    ]
)


def is_control(variant: Mapping[str, Any]) -> bool:
    """Whether a variant is one that any calibrated method must beat."""
    method = facts(variant["method"])
    changed = variant.get("permute") or variant.get("shuffle_query") or variant.get("rope")
    uncalibrated = bool(changed or variant.get("weights", "uniform") == "uniform")
    return method.is_control or (method.takes_weights and uncalibrated)


def is_calibrated(variant: Mapping[str, Any]) -> bool:
    """HAWK with weights from ablation, nothing about it disturbed."""
    return facts(variant["method"]).takes_weights and not is_control(variant)


def is_floor(method: str) -> bool:
    """Whether a row of the tables is of a method that shows the model nothing.

    Rows of no method (the baseline, the majority answer) are not the floor.
    """
    return method in REGISTRY and facts(method).is_floor


def is_ceiling(method: str) -> bool:
    """Whether a row of the tables is of a method that is told what no method can know."""
    return method in REGISTRY and facts(method).is_ceiling


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
    uniform = uniform_recipes(config["weights"]["recipes"])
    variants = [with_uniform(variant, uniform) for variant in config["evaluation"]["variants"]]
    rows = []
    for variant in filter(is_calibrated, variants):
        for control in filter(is_control, variants):
            for ratio in map(ratio_text, config["evaluation"]["ratios"]):
                gap = np.mean(
                    [
                        draws[variant["name"], ratio, name] - draws[control["name"], ratio, name]
                        for name in names
                    ],
                    axis=0,
                )
                low, high = percentile_interval(gap, confidence)
                rows.append(
                    {
                        "variant": variant["name"],
                        "control": control["name"],
                        "pruning_ratio": ratio,
                        "difference": retention[variant["name"], ratio] - retention[control["name"], ratio],
                        "difference_low": float(low),
                        "difference_high": float(high),
                    }
                )
    return rows
