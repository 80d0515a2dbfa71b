"""Pruners by name; the classes are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hawk.errors import InputError, unknown

if TYPE_CHECKING:
    from hawk.pruning.base import Pruner

# method → "module:class". Adding a pruner is one new file and one line here.
REGISTRY: dict[str, str] = {
    "hawk": "hawk.pruning.hawk:Hawk",
    "hawk_signed": "hawk.pruning.signed:SignedHawk",
    "fastv": "hawk.pruning.fastv:FastV",
    "divprune": "hawk.pruning.divprune:DivPrune",
    "cdpruner": "hawk.pruning.cdpruner:CDPruner",
    "mmtok": "hawk.pruning.mmtok:MMTok",
    "visionzip": "hawk.pruning.visionzip:VisionZip",
    "dart": "hawk.pruning.dart:Dart",
    "evs": "hawk.pruning.evs:Evs",
    "facility_location": "hawk.pruning.facility_location:FacilityLocation",
    "mmr": "hawk.pruning.mmr:Mmr",
    "random": "hawk.pruning.controls:Random",
    "grid": "hawk.pruning.controls:Grid",
    "downscale": "hawk.pruning.downscale:Downscale",
    "blind": "hawk.pruning.controls:Blind",
}


def pruner_class(method: str) -> type[Pruner]:
    """The class of a method; an unknown one is an error that lists the known ones."""
    if method not in REGISTRY:
        raise unknown("method", method, REGISTRY)
    module, _, cls = REGISTRY[method].partition(":")
    return getattr(import_module(module), cls)


def pruner(method: str, **options: Any) -> Pruner:
    """Build a pruner from its method name and options; unknown options name the allowed ones."""
    from dataclasses import fields

    cls = pruner_class(method)
    allowed = [f.name for f in fields(cls) if f.init]
    for name in options:
        if name not in allowed:
            raise unknown(f"option of method {method!r}", name, allowed)
    try:
        return cls(**options)
    except TypeError as error:
        raise InputError(f"method {method!r}: {error}") from None
