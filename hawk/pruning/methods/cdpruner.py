"""CDPruner: tokens that are relevant to the question and unlike each other, by a conditional DPP.

Paper: CDPruner, NeurIPS 2025 (arXiv 2506.10967; code Apache-2.0). With S_ij = cos(v_i, v_j) of the
visual embeddings and t the mean embedding of the question:

    relevance  r_i = (c_i - min c + 1e-6) / (max c - min c),   c_i = sign · cos(v_i, t)
    kernel     L_ij = r_i S_ij r_j
    select     argmax over |S| = count of det(L_S), greedily (Chen et al. 2018): always the token
               with the largest residual d²_j, d²_j being L_jj less what the chosen ones explain.

Differences from the official code, and why:
- There t is the embedding of the question by CLIP's text tower, in pieces of 77 tokens, c_i is the mean
  cosine over them of the patch in CLIP's shared space (feature layer, last norm, projection), and it has a
  minus sign, an oddity of that space (its issues 9, 14, 19). ``clip: CHECKPOINT`` with
  ``relevance_sign: -1`` does that on LLaVA-1.5. Qwen and InternVL have no such tower: by default t is the
  mean input embedding of the question in the language model, and the sign is the paper's; ports disagree.
- Range and kernel are per sample, not per batch, so a batch gives what single samples give; a range
  of zero gives relevance 1 instead of a division by zero. There the count is per crop and the range over
  all crops: ``budget: per_tile`` does the same; ``per_image`` takes the range of every image by itself.
- Where the official code divides by 0 and returns NaN's index again and again, the rest is filled by
  relevance, see :mod:`hawk.pruning.determinantal`.

Time O(count · n · (hidden + count)), memory O(count · n). Ties go to the lower position. With ``clip`` one
pass of a text tower is added to every prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hawk.benchmarks.rules.protocols import SINGLE_WORD
from hawk.core.errors import InputError
from hawk.models.base import Family
from hawk.models.clip_text import ClipText, clip_text
from hawk.models.hooks import own_hooks
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
    clip : str or None, default None
        Folder or Hub id of the CLIP checkpoint that a LLaVA-1.5's vision tower was taken from: relevance by
        its text tower, as published. Needs the vision tower, so no stored features.
    """

    relevance_sign: int = 1
    query_span: str = "instruction"
    clip: str | None = None

    allowed = {"relevance_sign": (1, -1), "query_span": ("instruction", "after_vision")}
    paper = "CDPruner, NeurIPS 2025, arXiv 2506.10967"
    uses_query = True
    reads_other_question = True
    uses_tower_with = ("clip",)
    model_options = ("clip",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "uses_tower", self.clip is not None)

    def check(self, model: nn.Module, family: Family) -> None:
        if self.clip is None:
            return
        if family.name != "llava" or model.config.vision_config.model_type != "clip_vision_model":
            raise InputError(
                f"cdpruner: clip {self.clip!r} is for LLaVA-1.5 with CLIP's vision tower, not for "
                f"{family.name!r} with {model.config.vision_config.model_type!r}; leave clip out."
            )
        self._tower(model, family)

    @contextmanager
    def watch(self, model: nn.Module, family: Family) -> Iterator[list[Tensor]]:
        """Yields, with ``clip``, per run of the tower its patches in CLIP's space, [images, n, shared]."""
        self.check(model, family)
        seen: list[Tensor] = []
        if self.clip is None or not any(True for _ in family.vision_modules(model)[0].parameters()):
            yield seen
            return
        layer = model.config.vision_feature_layer

        def measure(module: nn.Module, args: Any, output: Any) -> None:
            hidden = output.hidden_states[layer if isinstance(layer, int) else layer[-1]]
            seen.append(self._tower(model, family).patches(module, hidden[:, 1:]))

        with own_hooks() as hooks:
            hooks.after(family.vision_modules(model)[0], measure)
            yield seen

    def _tower(self, model: nn.Module, family: Family) -> ClipText:
        assert self.clip is not None
        return clip_text(model, family.vision_modules(model)[0], self.clip)

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        vectors = unit(context.features[candidates])
        if self.budget == "per_tile":
            every = context.features
            relevance = context.once("relevance", self, lambda: self._relevance(context, unit(every)))
            return candidates[determinantal(vectors, relevance[candidates], count)]
        return candidates[determinantal(vectors, self._relevance(context, vectors, candidates), count)]

    def _relevance(
        self, context: PruningContext, vectors: Tensor, candidates: Tensor | slice = slice(None)
    ) -> Tensor:
        """Of the candidates, whose unit vectors [n, hidden] are given, [n]."""
        if self.clip is None:
            text = context.once("question", self, lambda: self._question(context))
        else:
            vectors = context.of_tower("cdpruner: clip")[candidates]
            text = context.once("question", self, lambda: self._clip_question(context)).to(vectors.device)
        return min_max(self.relevance_sign * (vectors @ text), EPSILON)

    def _question(self, context: PruningContext) -> Tensor:
        """Direction of the mean embedding of the question, [hidden]."""
        return unit(context.query_embeddings(self.query_span).float().mean(0))

    def _clip_question(self, context: PruningContext) -> Tensor:
        """Mean over the question's pieces of their unit vectors in CLIP's space, [shared].

        Asked without the request for a short answer, as the published code does.
        """
        asked = context.query_text(self.query_span).removesuffix(SINGLE_WORD).strip()
        return self._tower(context.model, context.family).words(asked).mean(0)
