"""The step make_figures: every figure of a run for which there is a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawk.analysis.comparison import OVERALL
from hawk.analysis.cost import cost_table
from hawk.core import files as records
from hawk.core import schemas
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.report.figures.drops import drop_heatmap
from hawk.report.figures.speedup import speedup_figure
from hawk.report.figures.style import save, style
from hawk.report.figures.weights import stability_figure, weight_bars
from hawk.report.tables import read_retention

READS = ()  # the tables and weights say which figures there are


def make_figures(config: Mapping[str, Any], root: str) -> list[str]:
    """All figures for which ``root`` has the tables; returns the paths written."""
    paths = RunPaths(root)
    out: list[str] = []
    if Path(paths.drops()).is_file():
        with style():
            out += _head_figures(paths)
    if Path(paths.table("retention", "parquet")).is_file():
        out += retention_figures(root)
        if Path(paths.cost()).is_file():
            out += _speedup(paths)
    return out


def retention_figures(root: str) -> list[str]:
    """``retention`` (overall) and ``retention-benchmarks`` from the comparison table."""
    from hawk.report.figures.retention import retention_figure

    paths = RunPaths(root)
    frame, _ = read_retention(root)
    names = [name for name in dict.fromkeys(frame["benchmark"]) if name != OVERALL]
    with style():
        return [
            *save(retention_figure(frame, [OVERALL]), paths, "retention"),
            *save(retention_figure(frame, names), paths, "retention-benchmarks"),
        ]


def _speedup(paths: RunPaths) -> list[str]:
    cost = records.read_table(paths.cost(), schemas.COST, {"table": "cost"}).to_pandas()
    retention, _ = read_retention(paths.root)
    with style():
        return save(speedup_figure(cost_table(cost), retention), paths, "speedup")


def _head_figures(paths: RunPaths) -> list[str]:
    drops = records.read_table(paths.drops(), schemas.DROPS, {"table": "drops"}).to_pandas()
    stability = json.loads(Path(paths.stability()).read_text(encoding="utf-8"))["interventions"]
    interventions = list(dict.fromkeys(drops["intervention"]))
    out: list[str] = []
    for name in interventions:
        figure = drop_heatmap(drops[drops["intervention"] == name], name)
        out += save(figure, paths, f"heatmap-{name}")
    weights = {
        name: HeadWeights.load(paths.head_weights(name))
        for name in interventions
        if Path(paths.head_weights(name)).is_file()
    }
    if weights:
        out += save(weight_bars(weights, stability), paths, "weights")
    if stability:
        out += save(stability_figure(stability), paths, "stability")
    return out
