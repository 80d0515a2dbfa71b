"""The figures of a run, as PNG and SVG. Deterministic: no date, a fixed salt for SVG ids.

Colours: ColorBrewer's RdBu for drops, Okabe and Ito's palette for variants; both can be told apart
with colour-blind eyes, and variants also differ by marker.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hawk import records
from hawk.comparison import BASELINE, MAJORITY, OVERALL
from hawk.heads import Head
from hawk.paths import RunPaths
from hawk.tables import read_retention
from hawk.weights import HeadWeights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#444444")
MARKERS = "osD^vPX*<>hd"
GREY = "#666666"
MAX_PANELS = 4  # layers shown as one panel each; more are averaged into layers × heads

_STYLE: Any = {
    "svg.hashsalt": "hawk",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100.0,
    "savefig.dpi": 160.0,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our look, and a back-end that needs no display; the caller's settings come back afterwards."""
    import matplotlib

    matplotlib.use("agg", force=False)
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    # Not pyplot: it would keep every figure alive.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, paths: RunPaths, name: str) -> list[str]:
    """Write ``figures/{name}.png`` and ``.svg``, atomically."""
    out = []
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        path = paths.figure(name, ending)
        with records.atomic_path(path) as temporary:
            figure.savefig(temporary, format=ending, metadata=metadata)
        out.append(path)
    return out


def make_figures(config: Mapping[str, Any], root: str) -> list[str]:
    """All figures for which ``root`` has the tables; returns the paths written."""
    paths = RunPaths(root)
    out: list[str] = []
    if Path(paths.drops()).is_file():
        with style():
            out += _head_figures(paths)
    if Path(paths.table("retention", "parquet")).is_file():
        out += retention_figures(root)
    return out


def retention_figures(root: str) -> list[str]:
    """``retention`` (overall) and ``retention-benchmarks`` from the comparison table."""
    from hawk.figures_retention import retention_figure

    paths = RunPaths(root)
    frame, _ = read_retention(root)
    names = [name for name in dict.fromkeys(frame["benchmark"]) if name != OVERALL]
    with style():
        return [
            *save(retention_figure(frame, [OVERALL]), paths, "retention"),
            *save(retention_figure(frame, names), paths, "retention-benchmarks"),
        ]


def _head_figures(paths: RunPaths) -> list[str]:
    drops = records.read_table(paths.drops(), records.DROPS, {"table": "drops"}).to_pandas()
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


# --- drops --------------------------------------------------------------------------------------------


def drop_heatmap(drops: pd.DataFrame, intervention: str) -> Figure:
    """Heads × benchmarks of one intervention's drops: values printed, noise cells hatched and grey.

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
        axes.set_title(f"{intervention}: mean drop over benchmarks, points", loc="left")
        return figure
    names = list(dict.fromkeys(drops["benchmark"]))
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
    figure.suptitle(f"Ablating one head ({intervention}): drop in points", x=0.01, ha="left", fontsize=10)
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
    from matplotlib.patches import Rectangle

    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        text = f"{round(float(value), digits) + 0.0:.{digits}f}"
        colour = "white" if abs(value) > 0.6 * limit else "black"
        if noise[row, column]:
            colour = GREY
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", ec="#c8c8c8", lw=0)
            )
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


# --- weights ------------------------------------------------------------------------------------------


def weight_bars(weights: Mapping[str, HeadWeights], stability: Mapping[str, Any]) -> Figure:
    """Head weights beside their null: bars are weights, grey spans what noise alone would give."""
    heads = max(len(one.weights) for one in weights.values())
    figure = new_figure(max(5.0, 1.6 + 0.32 * heads), 0.5 + 2.2 * len(weights))
    grid = figure.subplots(len(weights), 1, squeeze=False)[:, 0]
    for axes, (name, one) in zip(grid, weights.items(), strict=True):
        places = np.arange(len(one.weights))
        found = stability.get(name)
        if found and one.weight_normalization in found["head_null"]:
            null = found["head_null"][one.weight_normalization]
            low, high = np.array(null["q025"]), np.array(null["q975"])
            axes.bar(
                places + 0.2, high - low, 0.34, bottom=low, color="#d5d5d5", label="no head matters, 95 %"
            )
            axes.hlines(null["mean"], places + 0.03, places + 0.37, color=GREY, lw=1.2)
        axes.bar(places - 0.2, one.weights, 0.38, color=PALETTE[0], label="weight")
        axes.axhline(1 / len(places), color="black", lw=0.8, ls="--", label="uniform")
        axes.set_xticks(places, [f"L{one.layer}H{head}" for head in places])
        axes.tick_params(axis="x", length=0, rotation=90 if len(places) > 10 else 0)
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_ylabel("weight")
        axes.set_title(_weight_title(name, one, found), loc="left")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _weight_title(name: str, one: HeadWeights, found: Mapping[str, Any] | None) -> str:
    title = f"{name}, {one.weight_normalization}"
    if not found:
        return title
    pooled = found["null"]["pooled"]
    said = "no more than noise alone" if pooled["explained_by_null"] else "more than noise alone"
    p = f"p = {pooled['p']:.3f}" if pooled["p"] >= 0.001 else "p < 0.001"
    return f"{title}\nheads differ {said} gives ({p})"


def stability_figure(stability: Mapping[str, Any]) -> Figure:
    """Split-half rank correlation of the heads against the number of samples in each part."""
    figure = new_figure(2.0 + 3.0 * len(stability), 3.2)
    grid = figure.subplots(1, len(stability), squeeze=False, sharey=True)[0]
    for axes, (name, found) in zip(grid, stability.items(), strict=True):
        halves = found["split_half"]
        curves = [(key, one["curve"]) for key, one in halves["benchmarks"].items()]
        for number, (key, curve) in enumerate([*curves, ("pooled weights", halves["pooled"]["curve"])]):
            pooled = number == len(curves)
            axes.plot(
                [point["samples"] for point in curve],
                [point["correlation"] for point in curve],
                marker=MARKERS[number % len(MARKERS)],
                color="black" if pooled else PALETTE[number % (len(PALETTE) - 1)],
                lw=2.0 if pooled else 1.2,
                ms=4,
                label=key,
            )
        axes.set_xscale("log", base=2)
        ticks = [round(point["samples"]) for point in curves[0][1]]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set_ylim(min(-0.1, axes.get_ylim()[0]), 1.02)
        axes.set_title(name, loc="left")
        axes.set_xlabel("samples in each part")
    grid[0].set_ylabel("rank correlation of two parts")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure


def sequence(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker per variant; baseline, majority and blind are drawn apart."""
    plain = [name for name in names if name not in (BASELINE, MAJORITY)]
    return {name: (PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(plain)}
