"""Retention against measured speed-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hawk.analysis.cost import cost_table
from hawk.report.figures.looks import looks
from hawk.report.figures.style import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hawk.report.run import Run


def draw(run: Run) -> Figure:
    assert run.cost is not None
    assert run.retention is not None
    return speedup_figure(cost_table(run.cost), run.retention)


def speedup_figure(table: pd.DataFrame, retention: pd.DataFrame) -> Figure:
    """Retention over all benchmarks against measured end-to-end speed-up.

    A line per variant, from the lowest ratio to the highest; where each stands is written beside it. Bars are
    the intervals of both, of ``cost_table``'s ``speedup`` and of the retention.
    """
    overall = retention[retention["benchmark"] == "overall"]
    merged = table.merge(overall, on=["variant", "pruning_ratio"], suffixes=("", "_scored"))
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    axes.axhline(100, color="0.7", linewidth=0.8, zorder=0)
    axes.plot([1], [100], marker="*", color="black", markersize=9, linestyle="none")
    axes.annotate("unpruned", (1, 100), textcoords="offset points", xytext=(0, 9), ha="center", fontsize=8)
    look = looks(retention)
    for variant, part in merged.groupby("variant", sort=False):
        color, marker = look.get(str(variant), ("0.5", "x"))
        part = part.sort_values("pruning_ratio", key=lambda ratios: ratios.astype(float))
        axes.errorbar(
            part["speedup"],
            part["retention"],
            xerr=[part["speedup"] - part["speedup_low"], part["speedup_high"] - part["speedup"]],
            yerr=[part["retention"] - part["ci_low"], part["ci_high"] - part["retention"]],
            color=color,
            marker=marker,
            markersize=4.5,
            linewidth=1.2,
            elinewidth=0.7,
            label=str(variant),
        )
        for row in part.itertuples():
            axes.annotate(
                f"{100 * float(row.pruning_ratio):.3g}",
                (row.speedup, row.retention),
                textcoords="offset points",
                xytext=(4, 3),
                fontsize=6.5,
                color=color,
            )
    axes.margins(y=0.1)
    axes.set(xlabel="measured speed-up (numbers: % of tokens removed)", ylabel="retention, % of unpruned")
    if len(merged):
        figure.legend(loc="outside right center", fontsize=8)
    return figure
