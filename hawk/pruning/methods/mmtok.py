"""MMTok: visual tokens that cover the question's words and the whole image, greedily.

Paper: MMTok, ICLR 2026 (arXiv 2508.18264; code Apache-2.0). With unit vectors, m words of the
question, n visual tokens and temperatures τ:

    text coverage    A_tj = softmax over j of (t_t · v_j / τ_t) / m
    vision coverage  B_ij = softmax over j of (v_i · v_j / τ_v) / n
    f(S) = Σ_t max over s in S of A_ts  +  α · Σ_i max over s in S of B_is     (α = 0.5)

f is monotone submodular; S grows by the token with the largest gain. Words are the input embeddings
of the question in the language model, visual tokens those that enter it.

Differences from the official code: the count is the central budget, not ``int``; batches and
several images; lazy evaluation (the same choice, see :mod:`hawk.pruning.coverage`); the words are
those of the user's question, without the template and without "Question: " before them. For Qwen's
models its vision coverage is of the tower's patches before the merger, the mean of those that become one
token, its words are those of all user turns, and τ_t is 0.01: ``vision_features: tower``,
``query_span: all_turns``, ``text_temperature: 0.01``.

Time O(n² · hidden) for the matrix and usually a few hundredths of O(count · n²) for the selection,
memory O(n · (n + m)): coverage of every pair is what the method maximizes.
Ties go to the lower position.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family
from hawk.models.hooks import own_hooks
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.coverage import greedy_coverage
from hawk.pruning.merger import MERGERS, carry
from hawk.pruning.similarity import cosine_slabs, unit


@dataclass(frozen=True)
class MMTok(Pruner):
    """Tokens that together cover the question's words and the whole image.

    Parameters
    ----------
    text_temperature, vision_temperature : float, default 0.02 and 0.2
        τ_t and τ_v, positive.
    vision_weight : float, default 0.5
        α, 0 or more.
    query_span : {"instruction", "after_vision", "all_turns"}, default "instruction"
        Which text is the question, see :func:`hawk.models.turns.instruction_index`.
    vision_features : {"projected", "tower"}, default "projected"
        v in the vision coverage: tokens as they enter the language model, or the mean of a token's patches
        before the merger (Qwen's towers; needs the vision tower, so no stored features).
    """

    text_temperature: float = 0.02
    vision_temperature: float = 0.2
    vision_weight: float = 0.5
    query_span: str = "instruction"
    vision_features: str = "projected"

    allowed = {
        "query_span": ("instruction", "after_vision", "all_turns"),
        "vision_features": ("projected", "tower"),
    }
    bounds = {"text_temperature": "above 0", "vision_temperature": "above 0", "vision_weight": "0.."}
    paper = "MMTok, ICLR 2026, arXiv 2508.18264"
    uses_query = True
    reads_other_question = True
    uses_tower_with = ("vision_features", "tower")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "uses_tower", self.vision_features == "tower")

    def check(self, model: nn.Module, family: Family) -> None:
        if self.uses_tower and family.name not in MERGERS:
            raise InputError(
                f"mmtok: vision_features 'tower' is only for towers with a merger ({', '.join(MERGERS)}), "
                f"not for {family.name!r}."
            )

    @contextmanager
    def watch(self, model: nn.Module, family: Family) -> Iterator[list[Tensor]]:
        """Yields, where asked for, a tensor per run of the tower: means of a token's patches, [n, width]."""
        self.check(model, family)
        seen: list[Tensor] = []
        tower, _ = family.vision_modules(model)
        if not self.uses_tower or not any(True for _ in tower.parameters()):  # dropped: features are stored
            yield seen
            return
        patch_means: list[Tensor] = []

        def measure(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            patches = args[0] if args else kwargs["x"]  # [patches, width]
            patch_means[:] = [patches.float().unflatten(0, (-1, tower.spatial_merge_size**2)).mean(1)]

        with own_hooks() as hooks:
            hooks.before(tower.merger, measure)
            carry(hooks, tower, patch_means, seen)
            yield seen

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        vectors = unit(context.features[candidates])
        seen = vectors
        if self.uses_tower:
            seen = unit(context.of_tower("mmtok: vision_features 'tower'")[candidates])
        words = context.once("words", self, lambda: unit(context.query_embeddings(self.query_span)))
        return candidates[greedy_coverage(self.gain(words, vectors, seen), count)]

    def gain(self, words: Tensor, vectors: Tensor, seen: Tensor) -> Tensor:
        """Row j: what token j covers of every word and of every visual token, [n, m + n].

        words [m, hidden], vectors [n, hidden] and seen [n, width], the vectors of the vision coverage, are
        unit vectors.
        """
        size, asked = len(vectors), len(words)
        gain = vectors.new_empty(size, asked + size)
        text = (words @ vectors.T / self.text_temperature).softmax(-1) / asked
        gain[:, :asked] = text.T
        for begin, cosines in cosine_slabs(seen, seen):
            covers = (cosines / self.vision_temperature).softmax(-1)
            columns = slice(asked + begin, asked + begin + len(cosines))
            gain[:, columns] = covers.T * (self.vision_weight / size)
        return gain
