"""Masks of objects: how much of a colour each pixel of a cell takes, 0-256.

Integers throughout, so that a scene has the same bytes on every machine.
"""

from __future__ import annotations

import numpy as np


def resize_scan(scan: np.ndarray, height: int, width: int) -> np.ndarray:
    """A scan `[8, 8]` (0-16), linearly interpolated to `[height, width]` (0-256)."""
    rows, columns = _interpolation(height), _interpolation(width)
    enlarged = rows @ scan.astype(np.int64) @ columns.T  # 0 .. 16 * 256 * 256
    return enlarged // (16 * 256)


def _interpolation(size: int) -> np.ndarray:
    """Weights `[size, 8]` in 1/256 that sample 8 pixels at `size` evenly spaced places."""
    weights = np.zeros((size, 8), dtype=np.int64)
    for i in range(size):
        whole, rest = divmod(i * 7 * 256 // (size - 1), 256)
        weights[i, whole] = 256 - rest
        if rest:
            weights[i, whole + 1] = rest
    return weights


def slant(mask: np.ndarray, across: int, down: int) -> np.ndarray:
    """Lean a mask: the top row shifts by `across` pixels, the left column by `down`."""
    height, width = mask.shape
    y, x = np.indices(mask.shape)
    source_y = y - (2 * x - (width - 1)) * down // width
    source_x = x - (2 * y - (height - 1)) * across // height
    inside = (source_y >= 0) & (source_y < height) & (source_x >= 0) & (source_x < width)
    return np.where(inside, mask[source_y.clip(0, height - 1), source_x.clip(0, width - 1)], 0)


def shape_mask(name: str, size: int) -> np.ndarray:
    """A filled shape `[size, size]` with values 0 or 256."""
    # Twice the distance from the centre in pixels: whole numbers for every size.
    axis = 2 * np.arange(size) - (size - 1)
    y, x = axis[:, None], axis[None, :]
    square = x * x + y * y
    if name == "circle":
        inside = square <= size * size
    elif name == "ring":
        inside = (square <= size * size) & (4 * square >= size * size)
    elif name == "square":
        inside = np.maximum(abs(x), abs(y)) * 10 <= size * 9
    elif name == "diamond":
        inside = abs(x) + abs(y) <= size
    elif name == "cross":
        inside = np.minimum(abs(x), abs(y)) * 10 <= size * 3
    elif name == "triangle":
        inside = 2 * abs(x) <= y + size
    else:
        raise ValueError(f"no shape is called {name!r}")
    return inside * np.int64(256)
