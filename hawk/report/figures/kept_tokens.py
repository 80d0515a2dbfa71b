"""Kept tokens drawn over images."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection

from hawk.report.figures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


def kept_token_panel(entries: Sequence[KeptTokens], title: str = "") -> Figure:
    """Examples in rows, variants in columns; the whole image first. title: such as the ratio."""
    variants = list(dict.fromkeys(name for entry in entries for name in entry.kept))
    width = 1.55 * (1 + len(variants))
    tall = [entry.image.height / entry.image.width for entry in entries]
    figure = new_figure(max(width, 4.0), sum(1.5 * ratio + 0.55 for ratio in tall) + 0.2)
    grid = figure.subplots(
        len(entries), 1 + len(variants), squeeze=False, gridspec_kw={"height_ratios": tall}
    )
    for number, (line, entry) in enumerate(zip(grid, entries, strict=True)):
        every = range(entry.rows * entry.columns)
        veil(line[0], entry.image, entry.rows, entry.columns, every)
        line[0].set_title(("image\n" if number == 0 else "") + _wrap(entry.title, 26), fontsize=7)
        for axes, name in zip(line[1:], variants, strict=True):
            if name not in entry.kept:
                axes.axis("off")
                continue
            veil(axes, entry.image, entry.rows, entry.columns, entry.kept[name])
            note = entry.notes.get(name, f"{len(entry.kept[name])} of {len(every)}")
            axes.set_title((f"{name}\n" if number == 0 else "") + _wrap(note, 22), fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)[:3]).replace("$", r"\$")
