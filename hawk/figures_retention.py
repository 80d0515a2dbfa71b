"""Retention against pruning ratio, one panel per benchmark; and kept tokens drawn over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hawk.comparison import BASELINE, MAJORITY
from hawk.figures import GREY, new_figure, sequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3


def retention_figure(frame: pd.DataFrame, benchmarks: Sequence[str]) -> Figure:
    """Retention with intervals against the share of tokens removed. ``blind`` is the floor.

    frame: rows of ``tables/retention.parquet``. Variants with seeds show their mean and the range
    over seeds as a band.
    """
    methods = dict(zip(frame["variant"], frame["method"], strict=True))
    styles = sequence([name for name in methods if methods[name] != "blind"])
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
            if v in styles or methods[v] == "blind"
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
        if method == "blind" and len(rows):
            floor = rows.iloc[0]
            axes.axhspan(floor["ci_low"], floor["ci_high"], color="#e9e9e9", lw=0, zorder=0)
            axes.axhline(floor["retention"], color=GREY, lw=1.2, zorder=0.5, label=f"{name} (floor)")
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
        name = MAJORITY if label == "majority answer" else label.removesuffix(" (floor)")
        return -float(last.get(name, last.get(BASELINE, 0.0)))

    order = sorted(range(len(labels)), key=lambda i: height(labels[i]))
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside right upper",
        fontsize=8,
    )


# --- kept tokens --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeptTokens:
    """One example image, its grid of visual tokens, and which of them each variant kept."""

    image: Any  # a PIL image
    rows: int
    columns: int
    kept: Mapping[str, Sequence[int]]  # variant → indices, row by row
    title: str = ""  # the question
    notes: Mapping[str, str] = field(default_factory=dict)  # variant → what the model answered


def draw_kept_tokens(
    image: Any, rows: int, columns: int, kept_indices: Sequence[int], title: str = ""
) -> Figure:
    """One image with its removed tokens veiled and its kept tokens framed."""
    figure = new_figure(3.2, 3.2 * image.height / image.width + (0.3 if title else 0.0))
    axes = figure.subplots()
    veil(axes, image, rows, columns, kept_indices)
    axes.set_title(title, fontsize=8)
    return figure


def veil(axes: Axes, image: Any, rows: int, columns: int, kept: Sequence[int]) -> None:
    """Draw the image; removed tokens fade into grey, kept ones keep their colour and get a frame."""
    from matplotlib.collections import LineCollection

    pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255.0  # [height, width, 3]
    height, width = pixels.shape[:2]
    mask = np.zeros(rows * columns, dtype=bool)
    indices = np.asarray(list(kept), dtype=int)
    if indices.size and (indices.min() < 0 or indices.max() >= mask.size):
        raise ValueError(f"kept token {indices.max()} outside a grid of {rows} x {columns} tokens")
    mask[indices] = True
    grid = mask.reshape(rows, columns)
    grey = pixels.mean(axis=2, keepdims=True)
    faded = 0.62 + 0.2 * grey + np.zeros_like(pixels)
    y = np.minimum(np.arange(height) * rows // height, rows - 1)
    x = np.minimum(np.arange(width) * columns // width, columns - 1)
    shown = np.where(grid[y][:, x][..., None], pixels, faded)
    axes.imshow(shown, extent=(0, columns, rows, 0), interpolation="nearest", aspect="auto")
    axes.set_box_aspect(height / width)
    axes.spines[:].set_visible(False)
    axes.add_collection(LineCollection(_outline(grid), colors="black", linewidths=1.0))
    axes.set(xticks=[], yticks=[], xlim=(0, columns), ylim=(rows, 0))


def _outline(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """The edges between kept and removed tokens, as segments in token units."""
    padded = np.pad(mask, 1)
    lines = []
    for row, column in np.argwhere(padded[:-1] != padded[1:]):
        lines.append([(int(column) - 1, int(row)), (int(column), int(row))])
    for row, column in np.argwhere(padded[:, :-1] != padded[:, 1:]):
        lines.append([(int(column), int(row) - 1), (int(column), int(row))])
    return lines


def kept_token_panel(entries: Sequence[KeptTokens]) -> Figure:
    """Examples in rows, variants in columns; the whole image first."""
    variants = list(dict.fromkeys(name for one in entries for name in one.kept))
    width = 1.55 * (1 + len(variants))
    tall = [one.image.height / one.image.width for one in entries]
    figure = new_figure(max(width, 4.0), sum(1.5 * ratio + 0.55 for ratio in tall) + 0.2)
    grid = figure.subplots(
        len(entries), 1 + len(variants), squeeze=False, gridspec_kw={"height_ratios": tall}
    )
    for number, (line, one) in enumerate(zip(grid, entries, strict=True)):
        every = range(one.rows * one.columns)
        veil(line[0], one.image, one.rows, one.columns, every)
        line[0].set_title(("image\n" if number == 0 else "") + _wrap(one.title, 26), fontsize=7)
        for axes, name in zip(line[1:], variants, strict=True):
            if name not in one.kept:
                axes.axis("off")
                continue
            veil(axes, one.image, one.rows, one.columns, one.kept[name])
            note = one.notes.get(name, f"{len(one.kept[name])} of {len(every)}")
            axes.set_title((f"{name}\n" if number == 0 else "") + _wrap(note, 22), fontsize=7)
    return figure


def _wrap(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:3]).replace("$", r"\$")
