"""Which head weights noise alone would give as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.core.head_weights import HeadWeights


def inside_null(weights: HeadWeights, stability: Mapping[str, Any] | None) -> list[bool] | None:
    """Per head: whether its weight lies in the middle 95 % of the weights that no head's mattering gives.

    stability: that of the weights' ablation (``head_null``: quantiles 0.025 and 0.975 per
    head, from reference and ablated runs swapped at random per image). Its null is of the weights pooled
    over all calibration benchmarks: do not ask about other subsets. None where there is no such null.
    """
    null = (stability or {}).get("head_null", {}).get(weights.weight_normalization)
    if null is None or len(null["q025"]) != len(weights.weights):
        return None
    bounds = zip(weights.weights, null["q025"], null["q975"], strict=True)
    return [low <= weight <= high for weight, low, high in bounds]
