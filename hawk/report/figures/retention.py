"""Retention against pruning ratio: lines, one panel per benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.analysis.controls import is_ceiling, is_floor
from hawk.report.figures.looks import looks
from hawk.report.figures.style import GREY, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hawk.report.run import Run


COLUMNS = 3
FLOOR, CEILING = " (floor)", " (ceiling)"


def draw_benchmarks(run: Run) -> Figure:
    assert run.retention is not None
    names = [name for name in dict.fromkeys(run.retention["benchmark"]) if name != OVERALL]
    return retention_figure(run.retention, names)


def retention_figure(frame: pd.DataFrame, benchmarks: Sequence[str]) -> Figure:
    """Retention with intervals against the share of tokens removed.

    Between the floor, what ``blind`` retains, and the ceiling, what ``oracle`` does.

    frame: rows of ``tables/retention.parquet``. Variants with seeds show their mean and the range
    over seeds as a band.
    """
    methods = dict(zip(frame["variant"], frame["method"], strict=True))
    styles = looks(frame)
    columns = min(COLUMNS, len(benchmarks))
    rows = -(-len(benchmarks) // columns)
    single = len(benchmarks) == 1
    figure = new_figure(6.8 if single else 1.9 + 2.5 * columns, 4.6 if single else 0.5 + 2.4 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, name in zip(grid, benchmarks, strict=False):
        _panel(axes, frame[frame["benchmark"] == name], methods, styles)
        axes.set_title(name, loc="left")
    for axes in grid[len(benchmarks) :]:
        axes.remove()
    for place in range(len(benchmarks)):
        if place % columns == 0:
            grid[place].set_ylabel("retention, %")
        if place >= len(benchmarks) - columns:
            grid[place].set_xlabel("visual tokens removed, %")
            grid[place].tick_params(labelbottom=True)
    _legend(figure, grid[0], frame, methods)
    return figure


def _panel(
    axes: Axes,
    part: pd.DataFrame,
    methods: Mapping[str, str],
    styles: Mapping[str, tuple[str, str]],
) -> None:
    ratios = sorted(
        {
            float(r)
            for v, r in zip(part["variant"], part["pruning_ratio"], strict=True)
            if v in styles or is_floor(methods[v])
        }
    )
    # Points of one ratio stand side by side, or their intervals would hide each other.
    gap = min(np.diff(ratios), default=0.1)
    shifts = np.linspace(-0.14, 0.14, max(len(styles), 1)) * gap
    for (name, (colour, marker)), shift in zip(styles.items(), shifts, strict=False):
        rows = part[part["variant"] == name].sort_values("pruning_ratio", key=pd.to_numeric)
        x = 100 * (rows["pruning_ratio"].astype(float).to_numpy() + shift)
        y = rows["retention"].to_numpy()
        errors = np.abs(np.stack([y - rows["ci_low"], rows["ci_high"] - y]))
        if (rows["seeds"] > 1).any():
            axes.fill_between(x, rows["seed_low"], rows["seed_high"], color=colour, alpha=0.18, lw=0)
        axes.errorbar(
            x,
            y,
            yerr=errors,
            color=colour,
            marker=marker,
            ms=4.5,
            lw=1.3,
            elinewidth=0.9,
            label=name,
        )
    axes.axhline(100, color="#bbbbbb", lw=0.8, zorder=0)
    for name, method in methods.items():
        rows = part[part["variant"] == name]
        if is_floor(method) and len(rows):
            floor = rows.iloc[0]
            axes.axhspan(floor["ci_low"], floor["ci_high"], color="#e9e9e9", lw=0, zorder=0)
            axes.axhline(floor["retention"], color=GREY, lw=1.2, zorder=0.5, label=f"{name}{FLOOR}")
        if is_ceiling(method) and len(rows):
            rows = rows.sort_values("pruning_ratio", key=pd.to_numeric)
            x = 100 * rows["pruning_ratio"].astype(float).to_numpy()
            axes.fill_between(x, rows["ci_low"], rows["ci_high"], color="#e9e9e9", lw=0, zorder=0)
            axes.plot(x, rows["retention"], color=GREY, lw=1.2, ls=":", zorder=0.5, label=f"{name}{CEILING}")
    majority = part[part["variant"] == MAJORITY]
    if len(majority):
        value = majority.iloc[0]["retention"]
        axes.axhline(value, color="black", lw=1.0, ls=(0, (4, 3)), zorder=0.5, label="majority answer")
    axes.set_xticks([100 * ratio for ratio in ratios], [f"{100 * ratio:g}" for ratio in ratios])


def _legend(figure: Figure, axes: Axes, frame: pd.DataFrame, methods: Mapping[str, str]) -> None:
    """In the order of the first panel's curves at their last ratio, so that the eye finds them."""
    handles, labels = axes.get_legend_handles_labels()
    first = frame[frame["benchmark"] == frame["benchmark"].iloc[0]]
    first = frame[frame["benchmark"] == "overall"] if "overall" in set(frame["benchmark"]) else first
    last = first.sort_values("pruning_ratio", key=pd.to_numeric).groupby("variant")["retention"].last()

    def height(label: str) -> float:
        name = MAJORITY if label == "majority answer" else label.removesuffix(FLOOR).removesuffix(CEILING)
        return -float(last.get(name, last.get(BASELINE, 0.0)))

    order = sorted(range(len(labels)), key=lambda i: height(labels[i]))
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside right upper",
        fontsize=8,
    )
