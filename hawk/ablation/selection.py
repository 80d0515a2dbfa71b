"""The interventions selection and keep_only: tokens are chosen without a head, or by it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry, Head
from hawk.pruning.base import Pruner
from hawk.pruning.methods.hawk import Hawk


def selection_pruner(
    geometry: Geometry,
    layer: int,
    ratio: float | str,
    options: Mapping[str, Any],
    head: Head | None,
    alone: bool = False,
) -> Pruner:
    """Uniform weights over all heads of the scoring layer, over all but ``head``, or on ``head`` alone.

    The model is untouched: what it still answers tells how well the heads choose tokens. options are those
    of the token score (:func:`hawk.config.queries.token_score_options`).
    """
    weights = [0.0 if alone and head is not None else 1.0] * geometry.heads
    if head is not None:
        if head.layer != layer:
            raise InputError(f"tokens are scored in layer {layer}; {head} has no part in choosing them.")
        weights[head.index] = 1.0 - weights[head.index]
    total = sum(weights)
    shares = HeadWeights(tuple(w / total for w in weights), geometry, layer=layer)
    return Hawk(pruning_ratio=ratio, weights=shares, **options)
