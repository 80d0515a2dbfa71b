"""Benchmarks by name; the classes are imported when they are first used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from hawk.benchmarks.base import Benchmark, Sample
from hawk.errors import unknown

# name → "module:class". Adding a benchmark is one new file and one line here.
REGISTRY: dict[str, str] = {
    "easy_vqa": "hawk.benchmarks.easy_vqa:EasyVQA",
    "digits": "hawk.benchmarks.scenes:Digits",
    "shapes": "hawk.benchmarks.scenes:Shapes",
    "colors": "hawk.benchmarks.scenes:Colors",
    "presence": "hawk.benchmarks.scenes:Presence",
}


def benchmark(name: str, options: Mapping[str, Any] | None = None) -> Benchmark:
    """The benchmark of that name; an unknown name is an error that lists the known ones."""
    if name not in REGISTRY:
        raise unknown("benchmark", name, REGISTRY)
    module, _, cls = REGISTRY[name].partition(":")
    return getattr(import_module(module), cls)(options=options or {})


__all__ = ["REGISTRY", "Benchmark", "Sample", "benchmark"]
