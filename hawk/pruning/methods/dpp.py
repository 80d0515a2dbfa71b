"""DPP: any token score as the relevance of a determinantal point process.

Selection: CDPruner, NeurIPS 2025 (arXiv 2506.10967), see :mod:`hawk.pruning.determinantal`. CDPruner's
relevance is the cosine of a visual token and the mean question embedding; here it is the score of any
pruner, scaled to [0, 1] over the sample, so that head-weighted attention meets diversity:

    L_ij = r_i^power · cos(v_i, v_j) · r_j^power,      r = min_max(score) + 1e-6

A greedy choice by "score times what the chosen tokens do not explain" (as SIEVE makes with attention
mass) is the same choice: d_j = r_j · |residual of v_j|.

In a config: ``{method: dpp, scorer: {method: hawk, weights: keep_only}}``.
Time O(count · n · (hidden + count)) and the scorer's, memory O(count · n). Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hawk.pruning.context import PruningContext
from hawk.pruning.determinantal import determinantal
from hawk.pruning.scorers import Combined
from hawk.pruning.similarity import min_max, unit

EPSILON = 1e-6  # the least relevant token keeps a direction of its own


@dataclass(frozen=True)
class Dpp(Combined):
    """Tokens with a high score of another method and unlike each other (a determinantal process).

    Parameters
    ----------
    scorer : Pruner or mapping
        A pruner with a score for every token, or its config ``{method: ..., options}``.
    power : float, default 1.0
        Exponent of the scaled score, above 0 and at most 100; larger ones follow the score more closely.
    """

    power: float = 1.0

    bounds = {"power": "above 0..100"}
    paper = "CDPruner's selection, NeurIPS 2025, arXiv 2506.10967, with any token score"
    scorer_name = "dpp"

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        scores = self.scorer.finite_scores(context)[candidates].float()
        relevance = min_max(scores, EPSILON).double().pow(float(self.power))
        return candidates[determinantal(unit(context.features[candidates]), relevance, count)]
