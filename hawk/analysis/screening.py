"""How well estimated drops rank the heads that were also switched off one by one."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hawk.analysis import statistics

ZERO = "zero"  # what a gradient by a head's gate estimates
# Columns of an estimate that rank heads, in words.
RANKS = {"margin_size": "size", "margin_drop": "sign and size"}


def rank_correlations(drops: pd.DataFrame, estimates: pd.DataFrame) -> list[dict[str, Any]]:
    """Spearman over heads between estimates and measured drops in the margin, means over shared benchmarks.

    drops, estimates: rows of drops tables, measured and estimated. One row per estimating ablation, measured
    ablation (of the intervention zero) and layer, and where several layers were measured one over all heads,
    with layer None. ``correlation`` is null where one side ranks nothing.
    """
    rows: list[dict[str, Any]] = []
    keys = ["benchmark", "layer", "head"]
    for screen, estimated in estimates.groupby("ablation", sort=False):
        for name, measured in drops[drops["intervention"] == ZERO].groupby("ablation", sort=False):
            both = estimated.merge(measured[[*keys, "margin_drop"]], on=keys, suffixes=("", "_measured"))
            both = both.dropna(subset=["margin_drop", "margin_drop_measured"])
            means = both.groupby(["layer", "head"], as_index=False)[[*RANKS, "margin_drop_measured"]].mean()
            layers: list[int | None] = sorted(set(means["layer"]))
            for layer in [*layers, None] if len(layers) > 1 else layers:
                part = means if layer is None else means[means["layer"] == layer]
                row = {"screen": screen, "ablation": name, "layer": layer, "heads": len(part)}
                for column in RANKS:
                    correlation = statistics.spearman(
                        part[column].to_numpy(float), part["margin_drop_measured"].to_numpy(float)
                    )
                    row[column] = None if pd.isna(correlation) else float(correlation)
                rows.append(row)
    return rows
