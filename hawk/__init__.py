"""HAWK: head-importance-aware visual token pruning for multimodal LLMs.

``import hawk`` is light: torch and transformers are imported when something is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "load": "hawk.models",
    "HeadWeights": "hawk.weights",
    "Pruner": "hawk.pruning.base",
    "Hawk": "hawk.pruning.hawk",
    "SignedHawk": "hawk.pruning.signed",
    "FastV": "hawk.pruning.fastv",
    "DivPrune": "hawk.pruning.divprune",
    "CDPruner": "hawk.pruning.cdpruner",
    "MMTok": "hawk.pruning.mmtok",
    "VisionZip": "hawk.pruning.visionzip",
    "Dart": "hawk.pruning.dart",
    "Evs": "hawk.pruning.evs",
    "FacilityLocation": "hawk.pruning.facility_location",
    "Mmr": "hawk.pruning.mmr",
    "Random": "hawk.pruning.controls",
    "Grid": "hawk.pruning.controls",
    "Downscale": "hawk.pruning.downscale",
    "Blind": "hawk.pruning.controls",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hawk' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
