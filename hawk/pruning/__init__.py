"""Pruners by name; the classes are imported when they are first used."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hawk.core.errors import InputError, unknown

if TYPE_CHECKING:
    from hawk.pruning.base import Pruner

# method → "module:class". Adding a pruner is one new file and one line here.
REGISTRY: dict[str, str] = {
    "hawk": "hawk.pruning.methods.hawk:Hawk",
    "fastv": "hawk.pruning.methods.fastv:FastV",
    "divprune": "hawk.pruning.methods.divprune:DivPrune",
    "cdpruner": "hawk.pruning.methods.cdpruner:CDPruner",
    "mmtok": "hawk.pruning.methods.mmtok:MMTok",
    "visionzip": "hawk.pruning.methods.visionzip:VisionZip",
    "dart": "hawk.pruning.methods.dart:Dart",
    "evs": "hawk.pruning.methods.evs:Evs",
    "facility_location": "hawk.pruning.methods.facility_location:FacilityLocation",
    "dpp": "hawk.pruning.methods.dpp:Dpp",
    "discount": "hawk.pruning.methods.discount:Discount",
    "mmr": "hawk.pruning.methods.mmr:Mmr",
    "random": "hawk.pruning.methods.random:Random",
    "keep_first": "hawk.pruning.methods.keep_first:KeepFirst",
    "grid": "hawk.pruning.methods.grid:Grid",
    "downscale": "hawk.pruning.methods.downscale:Downscale",
    "blind": "hawk.pruning.methods.blind:Blind",
    "oracle": "hawk.pruning.methods.oracle:Oracle",
}


def pruner_class(method: str) -> type[Pruner]:
    """The class of a method; an unknown one is an error that lists the known ones."""
    if method not in REGISTRY:
        raise unknown("method", method, REGISTRY)
    module, _, cls = REGISTRY[method].partition(":")
    return getattr(import_module(module), cls)


def pruner(method: str, **options: Any) -> Pruner:
    """Build a pruner from its method name and options; unknown options name the allowed ones."""
    cls = pruner_class(method)
    allowed = [f.name for f in fields(cls) if f.init]
    for name in options:
        if name not in allowed:
            raise unknown(f"option of method {method!r}", name, allowed)
    try:
        return cls(**options)
    except TypeError as error:
        raise InputError(f"method {method!r}: {error}") from None
