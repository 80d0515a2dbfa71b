"""What a reader must know before believing a result, each beside the result that it qualifies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from hawk.analysis.blocks import BASELINE
from hawk.analysis.comparison import OVERALL
from hawk.analysis.controls import is_calibrated, is_floor
from hawk.core.variants import ablation_names, uniform_recipes, weight_source, with_uniform
from hawk.report import tables
from hawk.report.numbers import number


class Statement(NamedTuple):
    kind: str  # better, worse, below, open, note, warning
    text: str


def percent(ratio: str) -> str:
    return f"{100 * float(ratio):g} %"


def of_the_run(config: Mapping[str, Any], model: str) -> list[Statement]:
    """Beside the headline: whose results these are, and what leaks. model: path of the compared model."""
    out: list[Statement] = []
    if "models/tiny" in model:
        text = (
            "The model is small and was trained by this project on synthetic pictures. It shows that "
            "the workflow works; it says nothing about which method wins on a real model."
        )
        out.append(Statement("note", text))
    if config["calibration"].get("holdout") == "none":
        text = (
            "calibration.holdout is none: as in the paper, weights may be evaluated on images they were "
            "calibrated on, which makes retention too high."
        )
        out.append(Statement("warning", text))
    elif unknown := _from_elsewhere(config):
        text = (
            f"{', '.join(unknown)}: weights from a file. The images that they were calibrated on are "
            "not known here and may be among the evaluated ones."
        )
        out.append(Statement("warning", text))
    return out


def of_the_weights(config: Mapping[str, Any], stability: Mapping[str, Any]) -> list[Statement]:
    """Beside what is said of calibrated weights: which of them noise alone may have made."""
    out: list[Statement] = []
    for name, measured in stability.items():
        null = measured["null"]
        flagged = [key for key, values in null["benchmarks"].items() if values["explained_by_null"]]
        if null["pooled"]["explained_by_null"]:
            text = (
                f"Ablation {name}: over all benchmarks, heads differ no more than noise alone "
                "would make them. Use more calibration samples before trusting the weights."
            )
            out.append(Statement("warning", text))
        elif flagged:
            text = (
                f"Ablation {name}: on {', '.join(flagged)} the drops of the heads differ no more "
                "than noise alone would make them. Their share of the weights may be noise."
            )
            out.append(Statement("warning", text))
    # The null is computed for drops in value only, not for drops in log-probability.
    without = {
        recipe["name"]
        for recipe in config["weights"]["recipes"]
        if recipe["measure"] != "value" or not set(ablation_names(recipe)) <= set(stability)
    }
    uniform = uniform_recipes(config["weights"]["recipes"])
    unknown = [
        variant["name"]
        for variant in config["evaluation"]["variants"]
        if is_calibrated(with_uniform(variant, uniform)) and weight_source(variant) in without
    ]
    if unknown:
        text = f"{', '.join(unknown)}: no null was computed for these weights, so they may be noise alone."
        out.append(Statement("warning", text))
    return out


def of_the_comparison(
    config: Mapping[str, Any], drops: pd.DataFrame | None, frame: pd.DataFrame
) -> list[Statement]:
    """Beside the plot: benchmarks on which retention is undefined, shows nothing, or rests on too little."""
    out: list[Statement] = []
    base = frame[(frame["variant"] == BASELINE) & (frame["benchmark"] != OVERALL)]
    if zero := base[base["native_value"] == 0.0]["benchmark"].tolist():
        text = f"The unpruned model scores 0 on {', '.join(zero)}: retention and its mean are undefined."
        out.append(Statement("warning", text))
    blind = frame[frame["method"].map(is_floor).astype(bool) & (frame["benchmark"] != OVERALL)]
    weak = blind.drop_duplicates("benchmark")
    weak = weak[weak["retention"] > 90.0]
    if len(weak):
        listed = ", ".join(f"{r['benchmark']} {number(r['retention'])} %" for r in weak.to_dict("records"))
        text = (
            f"Without any visual token the model keeps most of its score ({listed}): these benchmarks "
            "cannot show a difference between pruning methods."
        )
        out.append(Statement("warning", text))
    if not len(blind):
        text = "No floor: the model without any visual token (blind) was not evaluated."
        out.append(Statement("note", text))
    return out + fewer_samples(config, drops, frame)


def fewer_samples(
    config: Mapping[str, Any], drops: pd.DataFrame | None, frame: pd.DataFrame | None
) -> list[Statement]:
    """Benchmarks with fewer samples than the config asks for, by what they are used for."""
    shortages: list[str] = []
    wanted = config["calibration"]["samples"]
    if drops is not None and wanted is not None:
        rows = drops.drop_duplicates("benchmark")
        rows = rows[rows["samples"] < wanted].to_dict("records")
        shortages += [f"{row['benchmark']} {row['samples']} of {wanted} for calibration" for row in rows]
    if frame is not None:
        shortages += [f"{shortage} for evaluation" for shortage in tables.fewer_samples(frame)]
    return (
        [Statement("warning", f"Fewer samples than asked for: {'; '.join(shortages)}.")] if shortages else []
    )


def _from_elsewhere(config: Mapping[str, Any]) -> list[str]:
    """Variants with weights that this run did not measure."""
    measured_here = (*(recipe["name"] for recipe in config["weights"]["recipes"]), "uniform", None)
    return [
        variant["name"]
        for variant in config["evaluation"]["variants"]
        if weight_source(variant) not in measured_here
    ]
