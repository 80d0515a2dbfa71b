"""The ceiling: told where the object is that the question asks for.

No method can know that, so it is neither a rival nor a control; it shows how much could be won at a
budget. Only samples that say where their object is can have it (``relevant``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.core.errors import InputError
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext


@dataclass(frozen=True)
class Oracle(Pruner):
    """The tokens that show the asked object, and a random choice among the others: the ceiling.

    Where the object has more tokens than the budget, a random choice among its own.

    Parameters
    ----------
    seed : int, default 0
        In a run ``seeds: n`` of the variant counts it from 0 to n - 1.
    """

    seed: int = 0

    paper = "ceiling"
    is_ceiling = True
    uses_relevant = True

    def scores(self, context: PruningContext) -> Tensor:
        if context.relevant is None:
            raise InputError(
                "oracle must be told which tokens show the asked object; the evaluation of a benchmark tells "
                "it, where the samples know (relevant)."
            )
        drawn = torch.rand(context.tokens, generator=context.generator(self.seed))
        return drawn + context.relevant().to(drawn)
