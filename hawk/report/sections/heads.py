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
    """What the script draws the heatmap from, per intervention."""
    if run.drops is None:
        return {}
    out: dict[str, Any] = {}
    for name, part in run.drops.groupby("intervention", sort=False):
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
        weights = run.weights.get(str(name))
        noise = inside_null(weights, run.stability.get(str(name))) if weights else None
        out[str(name)] = {
            "benchmarks": benchmarks,
            "heads": [str(head) for head in heads],
            "cells": [
                [_finite(cells[benchmark, head.layer, head.index]) for benchmark in benchmarks]
                for head in heads
            ],
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
        "<p>Each cell is the drop when one head is ablated: reference run minus ablated run, in points of "
        "the benchmark's scale, over the same samples. Red: the score falls without the head. Hatched: "
        "a drop or weight of this size is within noise. Point at a cell for its interval; click a heading "
        "to sort.</p>"
        '<div class="controls"><span>intervention <span id="interventions"></span></span>'
        '<label>sort by <select id="order"></select></label></div>'
        '<div id="heatmap-scroll"><table id="heatmap"></table></div>' + section_pictures(run, "heads")
    )


# --- weights ----------------------------------------------------------------------------------------


def weights(run: Run) -> str:
    if not run.stability:
        return ""
    text = section_pictures(run, "weights")
    rows = []
    for name, measured in run.stability.items():
        halves = {"pooled": measured["split_half"]["pooled"], **measured["split_half"]["benchmarks"]}
        for key, values in {"pooled": measured["null"]["pooled"], **measured["null"]["benchmarks"]}.items():
            rows.append(
                [
                    name,
                    key,
                    number(values["spread"], 2),
                    number(values["spread_q95"], 2),
                    p_text(values["p"]),
                    number(values["distance"], 2),
                    number(values["distance_q95"], 2),
                    number(halves[key]["curve"][-1]["correlation"], 2, sign=True),
                    number(halves[key]["full"], 2, sign=True),
                    "noise alone" if values["explained_by_null"] else "beyond noise",
                ]
            )
    head = ["intervention", "benchmark", "spread, points", "95 % of noise", "p"]
    head += ["distance", "95 % of noise"]
    head += ["split-half", "all samples (est.)", "heads differ"]
    text += table(head, rows, left=2)
    pairs = [
        [name, pair["first"], pair["second"], number(pair["spearman"], 2, sign=True)]
        for name, measured in run.stability.items()
        for pair in measured["between_benchmarks"]
    ]
    if pairs:
        listed = table(["intervention", "benchmark", "and", "rank correlation of drops"], pairs, left=3)
        text += f"<details><summary>Agreement between benchmarks</summary>{listed}</details>"
    return text
