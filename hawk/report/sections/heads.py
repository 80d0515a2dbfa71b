"""The report's sections on heads: the interactive heatmap, the weights beside their null, stability."""

from __future__ import annotations

from typing import Any

from hawk.core.heads import Head
from hawk.report.noise import inside_null
from hawk.report.numbers import number, p_text
from hawk.report.page import table
from hawk.report.pictures import section_pictures
from hawk.report.run import Run


def head_data(run: Run) -> dict[str, Any]:
    """What the script draws the heatmap from, per ablation: with the first weights that are made of it."""
    if run.drops is None:
        return {}
    out: dict[str, Any] = {}
    first: dict[str, str] = {}
    for one in run.config["weights"]["recipes"]:
        if one["name"] in run.weights:
            first.setdefault(one["ablation"], one["name"])
    for name, part in run.drops.groupby("ablation", sort=False):
        benchmarks = list(dict.fromkeys(part["benchmark"]))
        heads = sorted({Head(layer, head) for layer, head in zip(part["layer"], part["head"], strict=True)})
        cells = {
            (row["benchmark"], row["layer"], row["head"]): {
                "drop": row["drop"],
                "low": row["ci_low"],
                "high": row["ci_high"],
                "noise": bool(row["is_noise"]),
                "floor": row["noise_floor"],
                "logprob": row["logprob_drop"],
                "samples": int(row["samples"]),
                "groups": int(row["groups"]),
                "unparsed": int(row["unparsed"]),
            }
            for row in part.to_dict("records")
        }
        recipe = first.get(str(name))
        weights = run.weights[recipe] if recipe else None
        noise = inside_null(weights, run.null_of(recipe)) if recipe and weights else None
        out[str(name)] = {
            "benchmarks": benchmarks,
            "heads": [str(head) for head in heads],
            "cells": [[_finite(cells[one, head.layer, head.index]) for one in benchmarks] for head in heads],
            "weights": [
                weights.weights[head.index] if weights and head.layer == weights.layer else None
                for head in heads
            ],
            "weight_noise": [
                bool(noise and weights and head.layer == weights.layer and noise[head.index])
                for head in heads
            ],
            "confidence": run.confidence,
        }
    return out


def _finite(cell: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and v != v else v for k, v in cell.items()}


def heads(run: Run) -> str:
    if run.drops is None:
        return ""
    return (
        "<p>Each cell is what one head is worth, in points of the benchmark's scale, over the same samples: "
        "what is lost without it, or, where it alone chose the tokens (keep_only), what is gained over all "
        "heads together. Red: the head matters. Hatched: noise alone "
        "would give such a drop, or such a weight. Point at a cell for its interval; click a heading to "
        "sort.</p>"
        '<div class="controls"><span>ablation <span id="ablations"></span></span>'
        '<label>sort by <select id="order"></select></label></div>'
        '<div id="heatmap-scroll"><table id="heatmap"></table></div>' + section_pictures(run, "heads")
    )


# --- weights ----------------------------------------------------------------------------------------


def weights(run: Run) -> str:
    if not run.stability:
        return ""
    text = section_pictures(run, "weights")
    rows = []
    for name, found in run.stability.items():
        halves = {"pooled": found["split_half"]["pooled"], **found["split_half"]["benchmarks"]}
        for key, one in {"pooled": found["null"]["pooled"], **found["null"]["benchmarks"]}.items():
            rows.append(
                [
                    name,
                    key,
                    number(one["spread"], 2),
                    number(one["spread_q95"], 2),
                    p_text(one["p"]),
                    number(one["distance"], 2),
                    number(one["distance_q95"], 2),
                    number(halves[key]["curve"][-1]["correlation"], 2, sign=True),
                    number(halves[key]["full"], 2, sign=True),
                    "noise alone" if one["explained_by_null"] else "beyond noise",
                ]
            )
    head = ["ablation", "benchmark", "spread, points", "95 % of noise", "p"]
    head += ["distance", "95 % of noise"]
    head += ["split-half", "all samples (est.)", "heads differ"]
    text += table(head, rows, left=2)
    pairs = [
        [name, one["first"], one["second"], number(one["spearman"], 2, sign=True)]
        for name, found in run.stability.items()
        for one in found["between_benchmarks"]
    ]
    if pairs:
        listed = table(["ablation", "benchmark", "and", "rank correlation of drops"], pairs, left=3)
        text += f"<details><summary>Agreement between benchmarks</summary>{listed}</details>"
    return text
