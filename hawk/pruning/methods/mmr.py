"""MMR: any token score, with a penalty for tokens like those already chosen.

Paper: Carbonell and Goldstein, SIGIR 1998 (maximal marginal relevance); used for visual tokens by
IDPruner (arXiv 2602.13315) with a trained importance. With r_i the score of any pruner here, scaled
to [0, 1] over the sample, S the tokens chosen so far and λ the trade-off:

    argmax_i  λ · r_i  -  (1 - λ) · max over s in S of cos(v_i, v_s)          (max over nothing = 0)

Differences from IDPruner: the score is training-free and given by ``scorer``; embeddings are those
that enter the language model. λ = 1 is the scorer alone, λ = 0 is diversity alone.

In a config: ``{method: mmr, scorer: {method: hawk, weights: selection}, trade_off: 0.5}``.
Time O(count · n · hidden) and the scorer's, memory O(n · hidden). Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.pruning.context import PruningContext
from hawk.pruning.replay import repeat
from hawk.pruning.scorers import Combined
from hawk.pruning.similarity import Cosines, min_max, unit


@dataclass(frozen=True)
class Mmr(Combined):
    """Tokens with a high score of another method, less what is like tokens already chosen.

    Parameters
    ----------
    scorer : Pruner or mapping
        A pruner with a score for every token, or its config ``{method: ..., options}``.
    trade_off : float, default 0.5
        λ in [0, 1], the weight of the score against similarity to chosen tokens.
    """

    trade_off: float = 0.5

    bounds = {"trade_off": "0..1"}
    paper = "Maximal marginal relevance, SIGIR 1998; for visual tokens IDPruner, arXiv 2602.13315"
    scorer_name = "mmr"

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        scores = self.scorer.finite_scores(context)[candidates].float()
        vectors = unit(context.features[candidates])
        relevance, trade_off = min_max(scores), float(self.trade_off)
        return candidates[marginal_relevance(vectors, relevance, trade_off, count)]


def marginal_relevance(vectors: Tensor, relevance: Tensor, trade_off: float, count: int) -> Tensor:
    """Greedy MMR over unit vectors [n, d], in the order of choice."""
    cosines, device = Cosines(vectors), vectors.device
    chosen = torch.empty(count, dtype=torch.long, device=device)
    at = torch.zeros(1, dtype=torch.long, device=device)
    scored = trade_off * relevance
    value = scored.clone()  # the first is the one with the highest score
    closest = torch.full_like(relevance, -torch.inf)  # cosine to the most similar chosen token

    def choose(done: int) -> None:
        pick = value.argmax(0, keepdim=True)
        chosen.index_copy_(0, at, pick)
        torch.maximum(closest, cosines.row(pick), out=closest)
        scored.index_fill_(0, pick, -torch.inf)  # it is chosen once
        torch.sub(scored, closest, alpha=1 - trade_off, out=value)
        at.add_(1)

    repeat(choose, count, device)
    return chosen
