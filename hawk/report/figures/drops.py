"""Drops as a heatmap, one cell per head and benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from hawk.core.heads import Head
from hawk.report.figures.style import GREY, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hawk.report.run import Run

# What a drop is.
WORDS = {
    "zero": "drop without one head",
    "mean": "drop without one head",
    "selection": "drop if one head does not choose tokens",
    "keep_only": "gain if one head alone chooses tokens",
}
MAX_PANELS = 4  # layers shown as one panel each; more are averaged into layers × heads


def draw(run: Run, ablation: str) -> Figure:
    assert run.drops is not None
    return drop_heatmap(run.drops[run.drops["ablation"] == ablation], ablation)


def drop_heatmap(drops: pd.DataFrame, ablation: str) -> Figure:
    """Heads × benchmarks of one ablation's drops: values printed, noise cells hatched and grey.

    Up to four layers get a panel each; more become one panel layers × heads of the mean drop over
    benchmarks (a cell is noise there when it is noise on every benchmark).
    """
    layers = sorted(set(drops["layer"]))
    limit = max(float(drops["drop"].abs().max()), 1e-9)
    if len(layers) > MAX_PANELS:
        mean = drops.groupby(["layer", "head"])[["drop", "is_noise"]].agg({"drop": "mean", "is_noise": "all"})
        values, noise = mean["drop"].unstack("head"), mean["is_noise"].unstack("head")
        limit = max(float(values.abs().max().max()), 1e-9)
        width, height = 1.6 + 0.42 * values.shape[1], 1.3 + 0.3 * values.shape[0]
        figure = new_figure(max(width, 4.5), height)
        axes = figure.subplots()
        _cells(axes, values.to_numpy(), noise.to_numpy(dtype=bool), limit, figure, 0)
        axes.set_yticks(range(len(values)), [f"L{layer}" for layer in values.index])
        axes.set_xticks(range(values.shape[1]), [f"H{head}" for head in values.columns])
        axes.set_title(f"{ablation}: mean drop over benchmarks, points", loc="left")
        return figure
    names, intervention = list(dict.fromkeys(drops["benchmark"])), drops["intervention"].iloc[0]
    heads = drops.groupby("layer")["head"].nunique().max()
    panel = 0.75 + 0.72 * len(names)
    figure = new_figure(max(1.1 + panel * len(layers), 4.6), 1.35 + 0.29 * heads)
    grid = figure.subplots(1, len(layers), squeeze=False)[0]
    for axes, layer in zip(grid, layers, strict=True):
        part = drops[drops["layer"] == layer]
        values = part.pivot(index="head", columns="benchmark", values="drop")[names]
        noise = part.pivot(index="head", columns="benchmark", values="is_noise")[names]
        last = layer == layers[-1]
        _cells(axes, values.to_numpy(), noise.to_numpy(dtype=bool), limit, figure if last else None)
        axes.set_yticks(range(len(values)), [str(Head(layer, head)) for head in values.index])
        axes.set_xticks(range(len(names)), names, rotation=30, ha="left", rotation_mode="anchor")
        axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    figure.suptitle(f"{ablation}: {WORDS[intervention]}, points", x=0.01, ha="left", fontsize=10)
    figure.supxlabel("hatched, grey: not distinguishable from noise", fontsize=8, color=GREY)
    return figure


def _cells(
    axes: Axes,
    values: np.ndarray,
    noise: np.ndarray,
    limit: float,
    figure: Figure | None,
    digits: int = 1,
) -> None:
    """A grid of coloured cells with their numbers; a colour bar if ``figure`` is given."""
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    # One shape for all hatched cells: thousands of them would make the file large.
    squares = [
        Path.unit_rectangle().transformed(Affine2D().translate(column - 0.5, row - 0.5))
        for row, column in np.argwhere(noise & ~np.isnan(values))
    ]
    if squares:
        hatched = Path.make_compound_path(*squares)
        axes.add_patch(PathPatch(hatched, fill=False, hatch="////", ec="#c8c8c8", lw=0))
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        text = f"{round(float(value), digits) + 0.0:.{digits}f}"
        colour = "white" if abs(value) > 0.6 * limit else "black"
        if noise[row, column]:
            colour = GREY
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            color=colour,
            fontsize=8,
            bbox=box if noise[row, column] else None,
        )
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    if figure is not None:
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
