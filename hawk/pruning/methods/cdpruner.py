"""CDPruner: tokens that are relevant to the question and unlike each other, by a conditional DPP.

Paper: CDPruner, NeurIPS 2025 (arXiv 2506.10967; code Apache-2.0). With S_ij = cos(v_i, v_j) of the
visual embeddings and t the mean embedding of the question:

    relevance  r_i = (c_i - min c + 1e-6) / (max c - min c),   c_i = sign · cos(v_i, t)
    kernel     L_ij = r_i S_ij r_j
    select     argmax over |S| = count of det(L_S), greedily (Chen et al. 2018): always the token
               with the largest residual d²_j, d²_j being L_jj less what the chosen ones explain.

Differences from the official code, and why:
- There t is CLIP's text embedding of LLaVA and c has a minus sign, an oddity of CLIP's patch space
  (its issues 9, 14, 19). Qwen and InternVL have no such tower: t is the mean input embedding of the
  question in the language model and ``relevance_sign`` is + (the paper's equation); ports disagree.
- Range and kernel are per sample, not per batch, so a batch gives what single samples give; a range
  of zero gives relevance 1 instead of a division by zero. There the count is per crop and the range over
  all crops: ``budget: per_tile`` does the same; ``per_image`` takes the range of every image by itself.
- Where the official code divides by 0 and returns NaN's index again and again, the rest is filled by
  relevance, see :mod:`hawk.pruning.determinantal`.

Time O(count · n · (hidden + count)), memory O(count · n). Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.determinantal import determinantal
from hawk.pruning.similarity import min_max, unit

EPSILON = 1e-6  # the official code's, under the relevance


@dataclass(frozen=True)
class CDPruner(Pruner):
    """Tokens relevant to the question and unlike each other (a conditional determinantal process).

    Parameters
    ----------
    relevance_sign : {1, -1}, default 1
        1 is the paper's equation, -1 the official LLaVA code.
    query_span : {"instruction", "after_vision"}, default "instruction"
        Which text is the question, see :func:`hawk.models.turns.instruction_index`.
    """

    relevance_sign: int = 1
    query_span: str = "instruction"

    allowed = {"relevance_sign": (1, -1), "query_span": ("instruction", "after_vision")}
    paper = "CDPruner, NeurIPS 2025, arXiv 2506.10967"
    uses_query = True
    reads_other_question = True

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        vectors = unit(context.features[candidates])
        if self.budget == "per_tile":
            every = context.features
            relevance = context.once("relevance", self, lambda: self._relevance(context, unit(every)))
            return candidates[determinantal(vectors, relevance[candidates], count)]
        return candidates[determinantal(vectors, self._relevance(context, vectors), count)]

    def _relevance(self, context: PruningContext, vectors: Tensor) -> Tensor:
        """Of unit vectors [n, hidden], [n]."""
        text = context.once("question", self, lambda: self._question(context))
        return min_max(self.relevance_sign * (vectors @ text), EPSILON)

    def _question(self, context: PruningContext) -> Tensor:
        """Direction of the mean embedding of the question, [hidden]."""
        return unit(context.query_embeddings(self.query_span).float().mean(0))
