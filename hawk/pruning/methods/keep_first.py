"""The control that keeps the prompt's first visual token: does that one alone decide?

Some models put more into their first visual token than that part of the image shows, and a method that
happens to keep it gains what is not owed to its choice. Against ``random`` this control shows how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext


@dataclass(frozen=True)
class KeepFirst(Pruner):
    """The prompt's first visual token, and a random choice among the others.

    Parameters
    ----------
    seed : int, default 0
        In a run ``seeds: n`` of the variant counts it from 0 to n - 1.
    """

    seed: int = 0

    paper = "control"
    is_control = True

    def scores(self, context: PruningContext) -> Tensor:
        drawn = torch.rand(context.tokens, generator=context.generator(self.seed))
        drawn[0] = 1.0  # the others lie below
        return drawn
