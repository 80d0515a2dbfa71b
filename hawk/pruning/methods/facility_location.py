"""Facility location: the subset in which every visual token has a close representative.

Paper: Cornuejols, Fisher and Nemhauser 1977; for visual tokens EADP (ECCV 2026) and, with
attention in place of r, SCOPE (NeurIPS 2025). With s_ij = (1 + cos(v_i, v_j)) / 2 and r_i the score
of any pruner here, scaled to [0, 1] over the sample (1 without a ``scorer``):

    f(S) = Σ_i r_i^power · max over j in S of s_ij

f is monotone submodular; S grows by the token with the largest gain, which is within 1 - 1/e of the
best subset. Differences from EADP: its text-guided importance, smoothed over the grid, is replaced
by any score of this library, and no grid is needed; embeddings are those that enter the language
model. From SCOPE: importance weighs what is to be covered, not the token that covers.

Time O(n² · hidden) for the matrix and usually a few hundredths of O(count · n²) for the selection,
memory O(n²): representation of every token by every other is what the method maximizes.
Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hawk.pruning.context import PruningContext
from hawk.pruning.coverage import greedy_coverage
from hawk.pruning.scorers import Combined
from hawk.pruning.similarity import cosine_slabs, min_max, unit


@dataclass(frozen=True)
class FacilityLocation(Combined):
    """Tokens of which every visual token has a close one, weighted by another method's score.

    Parameters
    ----------
    scorer : Pruner, mapping or None, default None
        A pruner, or its config, whose scores say how much each token is to be represented; None: equally.
    power : float, default 1.0
        Exponent of the scaled score, above 0 and at most 100; larger ones follow the score more closely.
    """

    power: float = 1.0

    bounds = {"power": "above 0..100"}
    paper = "Cornuejols, Fisher and Nemhauser 1977; for visual tokens EADP, ECCV 2026"
    scorer_name = "facility_location"
    needs_scorer = False

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        vectors = unit(context.features[candidates])
        gain = vectors.new_empty(len(vectors), len(vectors))
        for begin, cosines in cosine_slabs(vectors, vectors):
            gain[begin : begin + len(cosines)] = ((1 + cosines) / 2).clamp_(min=0)
        if self.scorer is not None:
            scores = self.scorer.finite_scores(context)[candidates].float()
            gain *= min_max(scores).pow(float(self.power))
        return candidates[greedy_coverage(gain, count)]
