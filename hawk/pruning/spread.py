"""An order over a grid of which every beginning is spread evenly."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def visiting_time(grid: tuple[int, int, int], tokens: int) -> Tensor:
    """When each cell of a grid is first visited, [tokens]; cells beyond the grid come last.

    A low-discrepancy walk: the Kronecker sequence of the square roots of 2, 3 and 5.
    grid: (frames, rows, columns).
    """
    frames, rows, columns = grid
    if frames * rows * columns != tokens:  # no rectangle (tiles, separators): along the sequence
        frames, rows, columns = 1, 1, tokens
    steps = torch.arange(64 * tokens, dtype=torch.float64)
    cell = torch.zeros(len(steps), dtype=torch.long)
    for size, root in ((frames, 5), (rows, 2), (columns, 3)):
        along = torch.frac(0.5 + steps * math.sqrt(root)) * size
        cell = cell * size + along.long().clamp(max=size - 1)
    time = torch.full((tokens,), float(len(steps)), dtype=torch.float64)
    return time.scatter_reduce(0, cell, steps, "amin")
