"""The control that keeps an even grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext


@dataclass(frozen=True)
class Grid(Pruner):
    """Evenly spaced over frames, rows and columns of every image; ignores what the image shows.

    Tokens are ranked by how early they come in a low-discrepancy walk over the grid (the Kronecker
    sequence of the square roots of 2, 3 and 5), so that every count covers the image evenly.
    """

    def scores(self, context: PruningContext) -> Tensor:
        scores = torch.empty(context.tokens, dtype=torch.float64)
        for i, item in enumerate(context.items):
            where = (context.item_of == i).nonzero().flatten().cpu()
            scores[where] = -visiting_time(item.grid, len(where))
        return scores.to(context.visual_index.device)


def visiting_time(grid: tuple[int, int, int], tokens: int) -> Tensor:
    """When each cell of a grid is first visited, [tokens]; cells beyond the grid come last."""
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
