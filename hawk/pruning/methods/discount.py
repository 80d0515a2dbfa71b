"""Discount: the token with the highest score, then every token like it loses score, and again.

Paper: ID-Selection (arXiv 2604.05601) suppresses the scores of tokens that are similar to the one just
chosen; written from that sentence of its abstract, not from its code. With r the score of any pruner
here, scaled to [0, 1] over the sample, and v the visual embeddings:

    pick argmax_j r_j,   then   r_j ← r_j · d(v_j, v_pick)^strength,   d = 1 - cos, between 0.001 and 1

Unlike mmr the penalties multiply, so a token like two chosen ones is discounted twice, and unlike dpp
a token between two chosen ones is not explained by them. The bound under d leaves copies of a chosen
token in the order of their scores. strength 0 is the scorer alone.

In a config: ``{method: discount, scorer: {method: hawk, weights: keep_only}}``.
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

EPSILON = 1e-6  # under the scaled scores, as in CDPruner: a discounted nothing would have no order
CLOSEST = 1e-3  # the smallest distance that is told from a copy


@dataclass(frozen=True)
class Discount(Combined):
    """Tokens with a high score of another method; each one chosen lowers the score of tokens like it.

    Parameters
    ----------
    scorer : Pruner or mapping
        A pruner with a score for every token, or its config ``{method: ..., options}``.
    strength : float, default 1.0
        Exponent of the discount, from 0 to 100; 0 is the scorer alone.
    """

    strength: float = 1.0

    bounds = {"strength": "0..100"}
    paper = "ID-Selection, arXiv 2604.05601, with any token score"
    scorer_name = "discount"

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        scores = min_max(self.scorer.finite_scores(context)[candidates].float(), EPSILON)
        vectors = unit(context.features[candidates])
        return candidates[discounted(vectors, scores, float(self.strength), count)]


def discounted(vectors: Tensor, scores: Tensor, strength: float, count: int) -> Tensor:
    """Greedy choice with discounts over unit vectors [n, d], scores [n] > 0, in the order of choice."""
    cosines, device = Cosines(vectors), vectors.device
    left = scores.double().log()  # products of many discounts would vanish
    chosen = torch.empty(count, dtype=torch.long, device=device)
    at = torch.zeros(1, dtype=torch.long, device=device)

    def choose(done: int) -> None:
        pick = left.argmax(0, keepdim=True)
        chosen.index_copy_(0, at, pick)
        left.add_((1 - cosines.row(pick).double()).clamp(CLOSEST, 1).log(), alpha=strength)
        left.index_fill_(0, pick, -torch.inf)
        at.add_(1)

    repeat(choose, count, device)
    return chosen
