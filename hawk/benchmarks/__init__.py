"""Benchmarks by name; the classes are imported when they are first used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from hawk.benchmarks.base import Benchmark, Sample
from hawk.core.errors import unknown

# name → "module:class". Adding a benchmark is one new file and one line here.
REGISTRY: dict[str, str] = {
    "easy_vqa": "hawk.benchmarks.easy_vqa:EasyVQA",
    "digits": "hawk.benchmarks.scenes:Digits",
    "shapes": "hawk.benchmarks.scenes:Shapes",
    "colors": "hawk.benchmarks.scenes:Colors",
    "presence": "hawk.benchmarks.scenes:Presence",
    "digits_busy": "hawk.benchmarks.scenes:DigitsBusy",
    "shapes_busy": "hawk.benchmarks.scenes:ShapesBusy",
    "colors_busy": "hawk.benchmarks.scenes:ColorsBusy",
    "presence_busy": "hawk.benchmarks.scenes:PresenceBusy",
    # published: images
    "ai2d": "hawk.benchmarks.ai2d:AI2D",
    "ccbench": "hawk.benchmarks.mmbench:CCBench",
    "chartqa": "hawk.benchmarks.chartqa:ChartQA",
    "gqa": "hawk.benchmarks.gqa:GQA",
    "hallusionbench": "hawk.benchmarks.hallusionbench:HallusionBench",
    "mmbench": "hawk.benchmarks.mmbench:MMBench",
    "mme": "hawk.benchmarks.mme:MME",
    "mmstar": "hawk.benchmarks.mmstar:MMStar",
    "ocrbench": "hawk.benchmarks.ocrbench:OCRBench",
    "pope": "hawk.benchmarks.pope:POPE",
    "realworldqa": "hawk.benchmarks.realworldqa:RealWorldQA",
    "scienceqa": "hawk.benchmarks.scienceqa:ScienceQA",
    "textvqa": "hawk.benchmarks.textvqa:TextVQA",
    "vizwiz": "hawk.benchmarks.vizwiz:VizWiz",
    # published: video
    "longvideobench": "hawk.benchmarks.longvideobench:LongVideoBench",
    "mlvu": "hawk.benchmarks.mlvu:MLVU",
    "videomme": "hawk.benchmarks.videomme:VideoMME",
    "worldsense": "hawk.benchmarks.worldsense:WorldSense",
}


def benchmark(name: str, options: Mapping[str, Any] | None = None) -> Benchmark:
    """The benchmark of that name; an unknown name is an error that lists the known ones."""
    if name not in REGISTRY:
        if options and options.get("definition"):  # a user's own, see docs/benchmarks.md
            from hawk.benchmarks.custom import custom

            return custom(name, options)
        raise unknown("benchmark", name, REGISTRY)
    module, _, cls = REGISTRY[name].partition(":")
    return getattr(import_module(module), cls)(options=options or {})


def require_data_file(bench: Benchmark) -> None:
    """Refuse a benchmark of one's own whose table does not exist, or cannot be read by its kind."""
    from hawk.benchmarks.custom import Custom

    if isinstance(bench, Custom):
        bench.require_table()


def all_families(data: Mapping[str, Any] | None = None) -> set[str]:
    """The families of all benchmarks: those here, and a user's own in a config's ``data``."""
    families = set()
    for place in REGISTRY.values():
        module, _, cls = place.partition(":")
        families.add(getattr(import_module(module), cls).family)
    for name, options in (data or {}).items():
        if name not in REGISTRY:
            families.add(benchmark(name, options).family)
    return families


__all__ = ["REGISTRY", "Benchmark", "Sample", "all_families", "benchmark", "require_data_file"]
