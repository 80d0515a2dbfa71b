"""DART: tokens that least duplicate a few pivots.

Paper: DART, EMNLP 2025 (arXiv 2502.11494), "duplication matters more" than importance. With the
keys k and hidden states h of one decoder layer:

    pivots   the visual tokens, and the text tokens, with the largest |k|_1
    keep     the visual pivots, and for every pivot p in turn the tokens not yet kept with the
             lowest cos(h_p, h_j), an equal number for each pivot

Differences from the official code, and why:
- There pruning happens inside the model after layer 2. Here, as in NVIDIA's TensorRT-Edge-LLM,
  it happens before the model, from the input of ``layer`` (0: no extra forward pass; a higher one runs
  the unpruned prompt up to it), so generation and caches are those of every other method.
- Its per-pivot ``int`` misses the count by up to one token per pivot; here the remainder goes to the
  first pivots, and the count is the central budget.
- Pivots come in the order of their norm; with fewer kept tokens than pivots only the first stay.

Time O((n + text) · hidden · head_dim · kv_heads + pivots · n · hidden), memory O(n · hidden).
Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.similarity import unit


@dataclass(frozen=True)
class Dart(Pruner):
    """A few pivots with large keys, and the tokens that duplicate them least.

    Parameters
    ----------
    image_pivots : int, default 10
        Visual pivots, 1 or more (10 in UniPruneBench).
    text_pivots : int, default 5
        Text pivots, 0 or more (5 in UniPruneBench).
    layer : int, default 0
        The decoder layer whose input and key projection are used.
    """

    image_pivots: int = 10
    text_pivots: int = 5
    layer: int = 0

    bounds = {"image_pivots": "1..", "text_pivots": "0..", "layer": "0..layers"}
    paper = "DART, EMNLP 2025, arXiv 2502.11494"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_pivots < 1:
            raise InputError(f"dart: image_pivots {self.image_pivots!r} must be 1 or more.")
        if self.text_pivots < 0 or self.layer < 0:
            raise InputError("dart: text_pivots and layer must be 0 or more.")

    def check(self, model: nn.Module, family: Family) -> None:
        layers = family.geometry(model).layers
        if self.layer >= layers:
            raise InputError(f"dart: layer {self.layer} is outside the model's 0-{layers - 1}.")

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        hidden = context.once("hidden", self, lambda: context.hidden_at(self.layer))
        where = context.visual_index[candidates]
        norms = context.once("key norms", self, lambda: self._key_norms(context))
        visual_pivots = _largest(norms[where], min(self.image_pivots, count))
        text_pivots = context.once("text pivots", self, lambda: self._text_pivots(context, hidden))
        vectors = unit(hidden[where])
        pivots = torch.cat([vectors[visual_pivots], text_pivots])
        return candidates[least_similar(vectors, visual_pivots, pivots, count)]

    def _text_pivots(self, context: PruningContext, hidden: Tensor) -> Tensor:
        """Unit hidden states of the text pivots, [text_pivots, hidden]."""
        norms = context.once("key norms", self, lambda: self._key_norms(context))[context.text_index]
        return unit(hidden[context.text_index][_largest(norms, self.text_pivots)])

    def _key_norms(self, context: PruningContext) -> Tensor:
        """The L1 norm of every token's key, all key heads together, [T]."""
        return context.projected("keys", self.layer).float().abs().sum((1, 2))


def _largest(norms: Tensor, count: int) -> Tensor:
    return torch.sort(norms, descending=True, stable=True).indices[:count]


def least_similar(vectors: Tensor, kept: Tensor, pivots: Tensor, count: int) -> Tensor:
    """``kept`` and, pivot by pivot, the tokens least similar to it, ``count`` in all.

    vectors: unit hidden states of the candidates [n, d]; pivots: those of all pivots [P, d].
    """
    chosen = [kept]
    taken = torch.zeros(len(vectors), dtype=torch.bool, device=vectors.device)
    taken[kept] = True
    share, left = divmod(count - len(kept), len(pivots))
    for number, pivot in enumerate(pivots):
        quota = share + (number < left)
        if quota == 0:
            break
        similarity = (vectors @ pivot).masked_fill(taken, torch.inf)
        picked = torch.sort(similarity, stable=True).indices[:quota]
        taken[picked] = True
        chosen.append(picked)
    return torch.cat(chosen)
