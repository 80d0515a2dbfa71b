"""A word where head weights prune another model than the one that they were measured on."""

from __future__ import annotations

import logging
from typing import Any

from hawk.core.head_weights import HeadWeights

log = logging.getLogger(__name__)


def warn_of_another_model(pruner: Any, model: str | None) -> None:
    """pruner: its own weights and its scorer's are looked at. model: the id or path of the model."""
    for part in (pruner, getattr(pruner, "scorer", None)):
        weights = getattr(part, "weights", None)
        if isinstance(weights, HeadWeights) and weights.model.get("id") not in (None, model):
            log.warning("head weights were measured on %s and are used on %s", weights.model["id"], model)
