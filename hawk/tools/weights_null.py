"""Head weights of a run: the null that says what noise alone would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hawk.analysis.stability import read_stability
from hawk.config.queries import POOLED
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, recipe_of
from hawk.core.paths import RunPaths


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
