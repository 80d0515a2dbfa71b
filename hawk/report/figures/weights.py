"""Head weights beside their null, and how stable they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hawk.core.head_weights import HeadWeights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hawk.report.run import Run
from matplotlib.container import BarContainer
from matplotlib.patches import Patch

from hawk.report.figures.looks import MARKERS, PALETTE
from hawk.report.figures.style import GREY, new_figure
from hawk.report.noise import inside_null

NOISE = "#cfe0ec"  # the palette's blue, pale


def draw_weights(run: Run) -> Figure:
    return weight_bars(run.weights, {name: run.null_of(name) for name in run.weights})


def draw_stability(run: Run) -> Figure:
    return stability_figure(run.stability)


def weight_bars(weights: Mapping[str, HeadWeights], nulls: Mapping[str, Any]) -> Figure:
    """Head weights beside their null: bars are weights, grey spans what noise alone would give.

    A weight inside its grey range is pale and hatched.
    """
    any_noise = False
    heads = max(len(head_weights.weights) for head_weights in weights.values())
    figure = new_figure(max(5.0, 1.6 + 0.32 * heads), 0.5 + 2.2 * len(weights))
    grid = figure.subplots(len(weights), 1, squeeze=False)[:, 0]
    for axes, (name, head_weights) in zip(grid, weights.items(), strict=True):
        places = np.arange(len(head_weights.weights))
        measured = nulls.get(name)
        if measured and head_weights.weight_normalization in measured["head_null"]:
            null = measured["head_null"][head_weights.weight_normalization]
            low, high = np.array(null["q025"]), np.array(null["q975"])
            axes.bar(
                places + 0.2, high - low, 0.34, bottom=low, color="#d5d5d5", label="no head matters, 95 %"
            )
            axes.hlines(null["mean"], places + 0.03, places + 0.37, color=GREY, lw=1.2)
        noise = inside_null(head_weights, measured) or [False] * len(places)
        bars = axes.bar(places - 0.2, head_weights.weights, 0.38, color=PALETTE[0], label="weight")
        for bar, is_noise in zip(bars, noise, strict=True):
            if is_noise:
                bar.set(facecolor=NOISE, edgecolor=PALETTE[0], hatch="////", linewidth=0)
        axes.axhline(1 / len(places), color="black", lw=0.8, ls="--", label="uniform")
        axes.set_xticks(places, [f"L{head_weights.layer}H{head}" for head in places])
        axes.tick_params(axis="x", length=0, rotation=90 if len(places) > 10 else 0)
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_ylabel("weight")
        axes.set_title(_weight_title(name, head_weights, measured), loc="left")
        any_noise = any_noise or any(noise)
    handles, labels = grid[0].get_legend_handles_labels()
    handles = [handle[0] if isinstance(handle, BarContainer) else handle for handle in handles]
    if "weight" in labels:  # whatever the first head is
        handles[labels.index("weight")] = Patch(color=PALETTE[0])
    if any_noise:
        handles.append(Patch(facecolor=NOISE, edgecolor=PALETTE[0], hatch="////", linewidth=0))
        labels.append("weight that noise alone would give")
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _weight_title(name: str, head_weights: HeadWeights, measured: Mapping[str, Any] | None) -> str:
    title = f"{name}, {head_weights.weight_normalization}"
    if not measured:
        return title
    pooled = measured["null"]["pooled"]
    finding = "no more than noise alone" if pooled["explained_by_null"] else "more than noise alone"
    p = f"p = {pooled['p']:.3f}" if pooled["p"] >= 0.001 else "p < 0.001"
    return f"{title}\nheads differ {finding} gives ({p})"


def stability_figure(stability: Mapping[str, Any]) -> Figure:
    """Split-half rank correlation of the heads against the number of samples in each part."""
    figure = new_figure(2.0 + 3.0 * len(stability), 3.2)
    grid = figure.subplots(1, len(stability), squeeze=False, sharey=True)[0]
    lowest = -0.05
    for axes, (name, measured) in zip(grid, stability.items(), strict=True):
        halves = measured["split_half"]
        curves = [(key, values["curve"]) for key, values in halves["benchmarks"].items()]
        for number, (key, curve) in enumerate([*curves, ("pooled weights", halves["pooled"]["curve"])]):
            pooled = number == len(curves)
            values = [point["correlation"] for point in curve]
            lowest = min(lowest, *values)
            axes.plot(
                [point["samples"] for point in curve],
                values,
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
        axes.set_title(name, loc="left")
        axes.set_xlabel("samples in each part")
    grid[0].set_ylim(lowest - 0.05, 1.02)  # shared by all
    grid[0].set_ylabel("rank correlation of two parts")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure
