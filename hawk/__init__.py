"""HAWK: head-importance-aware visual token pruning for multimodal LLMs.

``import hawk`` is light: torch and transformers are imported when something is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "load": "hawk.models",
    "HeadWeights": "hawk.core.head_weights",
    "Pruner": "hawk.pruning.base",
    "Hawk": "hawk.pruning.methods.hawk",
    "SignedHawk": "hawk.pruning.methods.signed",
    "FastV": "hawk.pruning.methods.fastv",
    "DivPrune": "hawk.pruning.methods.divprune",
    "CDPruner": "hawk.pruning.methods.cdpruner",
    "MMTok": "hawk.pruning.methods.mmtok",
    "VisionZip": "hawk.pruning.methods.visionzip",
    "Dart": "hawk.pruning.methods.dart",
    "Evs": "hawk.pruning.methods.evs",
    "FacilityLocation": "hawk.pruning.methods.facility_location",
    "Mmr": "hawk.pruning.methods.mmr",
    "Random": "hawk.pruning.methods.random",
    "Grid": "hawk.pruning.methods.grid",
    "Downscale": "hawk.pruning.methods.downscale",
    "Blind": "hawk.pruning.methods.blind",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hawk' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
