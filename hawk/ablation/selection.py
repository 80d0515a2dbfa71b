"""The intervention selection: a head is left out of the token score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.config.queries import token_score_options
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Head
from hawk.models.base import VisionLanguageModel
from hawk.pruning.base import Pruner
from hawk.pruning.methods.hawk import Hawk


def selection_pruner(config: Mapping[str, Any], vlm: VisionLanguageModel, without: Head | None) -> Pruner:
    """Uniform weights over all heads of the scoring layer, or over all but one.

    The model is untouched: the drop tells how much a head helps to choose tokens.
    """
    scoring, geometry = config["scoring"], vlm.geometry
    weights = [1.0] * geometry.heads
    if without is not None:
        if without.layer != scoring["layer"]:
            raise InputError(
                f"intervention 'selection' exists only at scoring.layer {scoring['layer']}, "
                f"not for {without}."
            )
        weights[without.index] = 0.0
    total = sum(weights)
    return Hawk(
        pruning_ratio=config["ablation"]["selection_ratio"],
        weights=HeadWeights(tuple(w / total for w in weights), geometry, layer=scoring["layer"]),
        **token_score_options(scoring),
    )
