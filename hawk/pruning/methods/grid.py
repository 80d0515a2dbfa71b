"""The control that keeps an even grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.spread import visiting_time


@dataclass(frozen=True)
class Grid(Pruner):
    """Evenly spaced over frames, rows and columns of every image; ignores what the image shows.

    Tokens are ranked by how early they come in a walk over the grid of which every beginning is
    spread evenly (:func:`hawk.pruning.spread.visiting_time`), so that every count covers the image.
    """

    paper = "control"
    is_control = True

    def scores(self, context: PruningContext) -> Tensor:
        return -torch.cat([visiting_time(item.grid, item.tokens) for item in context.items])
