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
- For Qwen2.5-VL its text pivots come from behind the last visual token (template included), keys have
  rotary positions and are of the layer before, states pass the model's last norm, and pivots come as a
  Python set of their positions lists them: ``text_span: after_vision``, ``rope: true``, ``layer: 2``,
  ``key_layer: 1``, ``final_norm: true``, ``pivot_order: set``, with 4 pivots of either kind.
- Its per-pivot ``int`` misses the count by up to one token per pivot; here the remainder goes to the
  first pivots, and the count is the central budget.
- Pivots come in the order of their norm, visual ones first; with fewer kept tokens than pivots only the
  first stay.

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
from hawk.pruning.fetch import send
from hawk.pruning.rotary import rotary, rotate
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
        The decoder layer whose input is compared.
    key_layer : int or None, default None
        The decoder layer whose keys choose pivots. None: ``layer``.
    text_span : {"all", "after_vision"}, default "all"
        Where text pivots come from: all text, or what stands behind the last visual token.
    rope : bool, default False
        Rotary positions in the keys.
    final_norm : bool, default False
        The model's last norm over the compared states.
    pivot_order : {"norm", "set"}, default "norm"
        Visual pivots by falling norm, then text ones; or as CPython lists the set of their positions.
    """

    image_pivots: int = 10
    text_pivots: int = 5
    layer: int = 0
    key_layer: int | None = None
    text_span: str = "all"
    rope: bool = False
    final_norm: bool = False
    pivot_order: str = "norm"

    allowed = {"text_span": ("all", "after_vision"), "pivot_order": ("norm", "set")}
    bounds = {
        "image_pivots": "1..",
        "text_pivots": "0..",
        "layer": "0..layers",
        "key_layer": "0..layers",
    }
    paper = "DART, EMNLP 2025, arXiv 2502.11494"

    @property
    def _key_layer(self) -> int:
        return self.layer if self.key_layer is None else self.key_layer

    def check(self, model: nn.Module, family: Family) -> None:
        layers = family.geometry(model).layers
        for name, layer in (("layer", self.layer), ("key_layer", self._key_layer)):
            if not 0 <= layer < layers:
                raise InputError(f"dart: {name} {layer} is outside the model's 0-{layers - 1}.")

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        states = context.once("states", self, lambda: self._states(context))
        norms = context.once("key norms", self, lambda: self._key_norms(context))
        where = send(context.visual_index, candidates.device)[candidates]
        vectors = unit(states[where])
        kept = _largest(norms[where], min(self.image_pivots, count))
        text = context.once("text pivots", self, lambda: self._text_pivots(context, norms))
        pivots = torch.cat([where[kept], text])  # positions
        if self.pivot_order == "set":
            pivots = pivots.new_tensor(list(set(pivots.tolist())))
        return candidates[least_similar(vectors, kept, unit(states[pivots]), count)]

    def _text_pivots(self, context: PruningContext, norms: Tensor) -> Tensor:
        """Positions of the text tokens with the largest keys."""
        text = context.text_index
        if self.text_span == "after_vision":
            text = text[text > context.visual_index[-1]]
        text = send(text, norms.device)
        return text[_largest(norms[text], self.text_pivots)]

    def _states(self, context: PruningContext) -> Tensor:
        """What is compared, [T, hidden]."""
        hidden = context.hidden_at(self.layer)
        normed: Tensor = context.family.decoder(context.model).norm(hidden) if self.final_norm else hidden
        return normed

    def _key_norms(self, context: PruningContext) -> Tensor:
        """The L1 norm of every token's key, all key heads together, [T]."""
        keys = context.projected("keys", self._key_layer).float()
        if self.rope:
            cos, sin = rotary(context, context.hidden_at(self._key_layer))
            keys = rotate(keys, cos.float(), sin.float())
        return keys.abs().sum((1, 2))


def _largest(norms: Tensor, count: int) -> Tensor:
    return torch.sort(norms, descending=True, stable=True).indices[:count]


def least_similar(vectors: Tensor, kept: Tensor, pivots: Tensor, count: int) -> Tensor:
    """``kept`` and, pivot by pivot, the tokens least similar to it, ``count`` in all.

    vectors: unit hidden states of the candidates [n, d]; pivots: those of all pivots [P, d].
    """
    chosen = [kept]
    taken = torch.zeros(len(vectors), dtype=torch.bool, device=vectors.device)
    taken.index_fill_(0, kept, True)  # taken[kept] = True would send the value, and wait for it
    share, left = divmod(count - len(kept), len(pivots))
    for number, pivot in enumerate(pivots):
        quota = share + (number < left)
        if quota == 0:
            break
        similarity = (vectors @ pivot).masked_fill(taken, torch.inf)
        picked = torch.sort(similarity, stable=True).indices[:quota]
        taken.index_fill_(0, picked, True)
        chosen.append(picked)
    return torch.cat(chosen)
