"""What the head explorer of the page draws from: every measured number of every head, in few bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hawk.core.heads import Head
from hawk.report.answers import answer_lists
from hawk.report.noise import inside_null
from hawk.report.run import Run

# Column of the drops table → digits that the page shows at most.
VALUES = {"drop": 2, "ci_low": 2, "ci_high": 2, "logprob_drop": 4}
COUNTS = ("unparsed", "is_noise")
OF_BENCHMARKS = ("noise_floor", "samples", "groups")  # the same for all heads of a benchmark


def explorer_data(run: Run, others: Mapping[str, Run] | None = None) -> dict[str, Any]:
    """Panels (one per run and ablation), and example images with the scores that heads give to their tokens.

    others: further runs to compare with, by the names that they get on the page.
    """
    panels = _panels(run, "")
    for name, other in (others or {}).items():
        panels += _panels(other, f"{name}: ")
    return {"panels": panels, "examples": list(run.examples)} if panels else {}


def _panels(run: Run, prefix: str) -> list[dict[str, Any]]:
    if run.drops is None:
        return []
    return [
        _panel(run, str(name), f"{prefix}{name}", part)
        for name, part in run.drops.groupby("ablation", sort=False)
    ]


def _panel(run: Run, ablation: str, title: str, part: pd.DataFrame) -> dict[str, Any]:
    benchmarks = list(dict.fromkeys(part["benchmark"]))
    heads = sorted({Head(layer, head) for layer, head in zip(part["layer"], part["head"], strict=True)})
    spots = [(head.layer, head.index) for head in heads]
    table = {
        key: part.pivot(index="benchmark", columns=["layer", "head"], values=key)
        for key in (*VALUES, *COUNTS, *OF_BENCHMARKS)
    }

    def column(key: str) -> list[list[Any]]:
        """[benchmark][head]"""
        return table[key].loc[benchmarks, spots].to_numpy().tolist()  # type: ignore[no-any-return]

    panel: dict[str, Any] = {
        "title": title,
        "ablation": ablation,
        "benchmarks": benchmarks,
        "heads": [[head.layer, head.index] for head in heads],
        "confidence": run.confidence,
        "alone": bool((part["intervention"] == "keep_only").all()),
    }
    for key, digits in VALUES.items():
        panel[key] = [[_rounded(value, digits) for value in line] for line in column(key)]
    for key in COUNTS:
        panel[key] = [[int(value) for value in line] for line in column(key)]
    for key in OF_BENCHMARKS:
        panel[key] = [_rounded(line[0], 2) for line in column(key)]
    answers = answer_lists(run.answers.get(ablation, {}), benchmarks, heads, panel["is_noise"])
    return {**panel, **answers, **_weights(run, ablation, heads)}


def _weights(run: Run, ablation: str, heads: Sequence[Head]) -> dict[str, Any]:
    """Per head its weight, where 95 % of weights lie if no head matters, and whether it lies there too.

    The weights are those of the first recipe that is made of the ablation.
    """
    recipes = run.config["weights"]["recipes"]
    names = [recipe["name"] for recipe in recipes if run.ablation_of(recipe["name"]) == ablation]
    recipe = next((name for name in names if name in run.weights), None)
    if recipe is None:
        return {"weight": [None] * len(heads)}
    head_weights, stability = run.weights[recipe], run.null_of(recipe)
    null = (stability or {}).get("head_null", {}).get(head_weights.weight_normalization)
    noise = inside_null(head_weights, stability)

    def per_head(values: Sequence[Any] | None) -> list[Any]:
        if values is None:
            return [None] * len(heads)
        return [
            _rounded(values[head.index], 4) if head.layer == head_weights.layer else None for head in heads
        ]

    return {
        "weight": per_head(head_weights.weights),
        "weight_low": per_head(null and null["q025"]),
        "weight_high": per_head(null and null["q975"]),
        "weight_noise": per_head(None if noise is None else [int(is_noise) for is_noise in noise]),
        "normalization": head_weights.weight_normalization,
    }


def _rounded(value: Any, digits: int) -> float | int | None:
    """As short as it is shown; None for what is not finite, which JSON has no word for."""
    number = float(value)
    if not math.isfinite(number):
        return None
    number = round(number, digits) + 0.0  # no "-0.0"
    return int(number) if number == int(number) else number


def pooled(drops: pd.DataFrame) -> pd.Series:
    """Mean drop over benchmarks per (layer, head): what the page calls "all benchmarks"."""
    return drops.groupby(["layer", "head"])["drop"].mean().astype(np.float64)
