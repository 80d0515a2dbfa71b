"""DivPrune: the subset whose closest two tokens are as far apart as possible, greedily.

Paper: DivPrune, CVPR 2025 (arXiv 2503.02175), written from its description. With D_jk = 1 - cos of
the visual embeddings that enter the language model, and S the tokens chosen so far:

    first pick:  argmax_j  min over k != j of D_jk     (farthest from its nearest neighbour)
    then:        argmax_j  min over s in S of D_js     (max-min diversity, algorithm 1)

Text plays no part. Differences from the official code, and why:
- A chosen token is never chosen again. There, every remaining distance 0 (duplicated features, as
  padding makes them) gives the same token again and fewer tokens than asked for.
- The count is the central budget, not ``round`` of a ratio; every image size and family.
- A running maximum of cosines replaces the O(count² n) loop over distances.

Time O((n + count) · n · hidden), memory O(n · hidden). Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.replay import repeat
from hawk.pruning.similarity import Cosines, unit


@dataclass(frozen=True)
class DivPrune(Pruner):
    """Tokens as far apart as possible: the closest two are farthest (max-min diversity)."""

    paper = "DivPrune, CVPR 2025, arXiv 2503.02175"

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        return candidates[max_min_diverse(unit(context.features[candidates]), count)]


def max_min_diverse(vectors: Tensor, count: int) -> Tensor:
    """Greedy max-min selection of ``count`` unit vectors [n, d], in the order of choice."""
    cosines, device = Cosines(vectors), vectors.device
    chosen = torch.empty(count, dtype=torch.long, device=device)
    at = torch.zeros(1, dtype=torch.long, device=device)
    last = cosines.nearest().argmin(0, keepdim=True)
    closest = torch.full((len(vectors),), -torch.inf, device=device)  # to any chosen one

    def choose(done: int) -> None:
        chosen.index_copy_(0, at, last)
        torch.maximum(closest, cosines.row(last), out=closest)
        closest.index_fill_(0, last, torch.inf)
        last.copy_(closest.argmin(0, keepdim=True))
        at.add_(1)

    repeat(choose, count, device)
    return chosen
