"""Retention of every variant at every ratio with intervals: the page's dot plot, as a figure for papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from hawk.analysis.blocks import MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.analysis.controls import is_ceiling, is_floor
from hawk.report.figures.looks import looks
from hawk.report.figures.style import GREY, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hawk.report.run import Run


def draw(run: Run) -> Figure:
    assert run.retention is not None
    return dots_figure(run.retention, run.settings.get("reference"))


def dots_figure(frame: pd.DataFrame, reference: str | None) -> Figure:
    """One panel per ratio, a row per variant, best first; hollow: no significant difference to the reference.

    frame: rows of ``tables/retention.parquet``.
    """
    look = looks(frame)
    overall = frame[frame["benchmark"] == OVERALL]
    rows = overall[overall["variant"].isin(list(look))]
    means = rows.groupby("variant")["retention"].mean()
    names = sorted(look, key=lambda name: -means.get(name, 0.0))
    ratios = sorted(dict.fromkeys(rows["pruning_ratio"]), key=float)
    figure = new_figure(1.6 + 2.6 * max(len(ratios), 1), 1.3 + 0.27 * len(names))
    panels = figure.subplots(1, max(len(ratios), 1), squeeze=False, sharex=True, sharey=True)[0]
    for axes, ratio in zip(panels, ratios, strict=False):
        _bounds(axes, overall, ratio, reference)
        for place, name in enumerate(names):
            here = rows[(rows["variant"] == name) & (rows["pruning_ratio"] == ratio)]
            for row in here.to_dict("records"):
                colour, marker = look[name]
                middle = row["retention"]
                errors = np.abs([[middle - row["ci_low"]], [row["ci_high"] - middle]])
                face = "white" if row["verdict"] == "—" else colour
                axes.errorbar(
                    [middle],
                    [place],
                    xerr=errors,
                    color=colour,
                    marker=marker,
                    markerfacecolor=face,
                    ms=5,
                    elinewidth=1.6,
                )
        axes.set_title(f"{100 * float(ratio):g} % removed", loc="left")
        axes.set_xlabel("retention, %")
        axes.grid(axis="y", color="#eeeeee", lw=0.6)
        axes.set_axisbelow(True)
    titles = [f"{name} (reference)" if name == reference else name for name in names]
    panels[0].set_yticks(range(len(names)), titles)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    handles, labels = panels[0].get_legend_handles_labels()
    if (rows["verdict"] == "—").any():
        hollow = Line2D([], [], color=GREY, marker="o", markerfacecolor="white", ls="")
        handles, labels = [*handles, hollow], [*labels, "hollow: no significant difference"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _bounds(axes: Axes, overall: pd.DataFrame, ratio: str, reference: str | None) -> None:
    axes.axvline(100, color="#bbbbbb", lw=0.8, zorder=0)
    for row in overall.to_dict("records"):
        here = row["pruning_ratio"] == ratio
        if row["variant"] == MAJORITY:
            axes.axvline(
                row["retention"], color="black", lw=1.0, ls=(0, (4, 3)), zorder=0.5, label="majority answer"
            )
        elif here and is_floor(row["method"]):
            axes.axvspan(row["ci_low"], row["ci_high"], color="#e9e9e9", lw=0, zorder=0)
            axes.axvline(row["retention"], color=GREY, lw=1.2, zorder=0.5, label=f"{row['variant']} (floor)")
        elif here and is_ceiling(row["method"]):
            axes.axvline(
                row["retention"], color=GREY, lw=1.6, ls=":", zorder=0.5, label=f"{row['variant']} (ceiling)"
            )
        elif here and row["variant"] == reference:
            axes.axvline(
                row["retention"], color="black", lw=0.7, zorder=0.5, label=f"{reference} (reference)"
            )
