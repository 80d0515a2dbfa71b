"""The control that keeps a random subset."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.fetch import send


@dataclass(frozen=True)
class Random(Pruner):
    """A uniformly random subset, fixed by seed and sample.

    Parameters
    ----------
    seed : int, default 0
        In a run ``seeds: n`` of the variant counts it from 0 to n - 1.
    """

    seed: int = 0

    paper = "control"
    is_control = True

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        order = torch.randperm(len(candidates), generator=context.generator(self.seed))
        return candidates[send(order[:count], candidates.device)]
