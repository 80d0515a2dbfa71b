"""The control that keeps no visual token: the floor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext


@dataclass(frozen=True)
class Blind(Pruner):
    """No visual token at all: the floor of every table and plot. ``pruning_ratio`` is ignored."""

    paper = "control"
    is_control = True
    is_floor = True
    keeps_budget = False
    ratio_free = True

    @property
    def inactive(self) -> bool:
        return False

    def kept_indices(self, context: PruningContext) -> Tensor:
        return torch.empty(0, dtype=torch.long)
