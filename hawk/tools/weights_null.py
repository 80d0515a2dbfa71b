"""Head weights of a run: the recipe that made them, and the null that says what noise alone would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hawk.analysis.stability import read_stability
from hawk.config.queries import POOLED
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.core.values import name as checked_name


def recipe_of(weights: HeadWeights) -> dict[str, Any]:
    """The recipe that a run made the weights by, as their file says; empty where it says none."""
    settings = weights.provenance.get("settings")
    recipe = settings.get("recipe") if isinstance(settings, dict) else None
    if not isinstance(recipe, dict) or "ablation" not in recipe:
        return {}
    checked_name(recipe["ablation"], "recipe.ablation of the head weights")  # becomes part of a path
    return recipe


def stability_of(path: str, weights: HeadWeights) -> dict[str, Any] | None:
    """What the run says of weights pooled over all benchmarks; None for any other file."""
    try:
        run, _, names = RunPaths.parse(path, "head_weights")
    except InputError:
        return None  # weights from elsewhere
    recipe = recipe_of(weights)
    if names["subset"] != POOLED or recipe.get("measure") != "value":
        return None
    file = run.stability(recipe["ablation"])
    return read_stability(file, recipe["ablation"])[1] if Path(file).is_file() else None
