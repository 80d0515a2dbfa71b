"""HAWK: head-importance-aware visual token pruning for multimodal LLMs.

``import hawk`` is light: torch and transformers are imported when something is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hawk.pruning import REGISTRY

_PUBLIC = {
    "load": "hawk.models.loading",
    "HeadWeights": "hawk.core.head_weights",
    "AblateHeads": "hawk.ablation.ablate_heads",
    "Pruner": "hawk.pruning.base",
    "PruningContext": "hawk.pruning.context",
    # Every registered method's class: "module:class" is its place.
    **{cls: module for module, _, cls in (place.partition(":") for place in REGISTRY.values())},
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hawk' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
