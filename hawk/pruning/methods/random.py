"""The control that keeps a random subset."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext


@dataclass(frozen=True)
class Random(Pruner):
    """A uniformly random subset, fixed by seed and sample."""

    seed: int = 0

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        order = torch.randperm(len(candidates), generator=context.generator(self.seed))
        return candidates[order[:count].to(candidates.device)]
