"""Whether head weights belong to the model that they are about to prune."""

from __future__ import annotations

import logging
from typing import Any

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights

log = logging.getLogger(__name__)


def check_measured_on(pruner: Any, family: str, model: str | None) -> None:
    """Refuse head weights of another model family; say so where they are of another model.

    pruner: its own weights and its scorer's are looked at. model: the id or path of the model.
    """
    for part in (pruner, getattr(pruner, "scorer", None)):
        weights = getattr(part, "weights", None)
        if not isinstance(weights, HeadWeights):
            continue
        measured = weights.model.get("family")
        if measured not in (None, family):
            raise InputError(
                f"the head weights were measured on a {measured!r} model; this one is {family!r}."
            )
        if weights.model.get("id") not in (None, model):
            log.warning("head weights were measured on %s and are used on %s", weights.model["id"], model)
