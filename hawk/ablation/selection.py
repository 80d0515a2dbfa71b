"""The intervention selection: a head is left out of the token score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry, Head
from hawk.pruning.base import Pruner
from hawk.pruning.methods.hawk import Hawk


def selection_pruner(
    geometry: Geometry, layer: int, ratio: float | str, options: Mapping[str, Any], without: Head | None
) -> Pruner:
    """Uniform weights over all heads of the scoring layer, or over all but one.

    The model is untouched: the drop tells how much a head helps to choose tokens. options are those of
    the token score (:func:`hawk.config.queries.token_score_options`).
    """
    weights = [1.0] * geometry.heads
    if without is not None:
        if without.layer != layer:
            raise InputError(
                f"intervention 'selection' exists only at scoring.layer {layer}, not for {without}."
            )
        weights[without.index] = 0.0
    total = sum(weights)
    uniform = HeadWeights(tuple(w / total for w in weights), geometry, layer=layer)
    return Hawk(pruning_ratio=ratio, weights=uniform, **options)
