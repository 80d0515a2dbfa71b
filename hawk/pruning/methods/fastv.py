"""FastV: drop visual tokens inside the model, by the attention the last prompt token pays them.

Paper: FastV, ECCV 2024 (arXiv 2403.06764), written from its description. With K = ``layer`` and
A_i the attention probabilities of head i in decoder layer K - 1 (layers count from 0):

    score_k = mean over heads i of A_i(last prompt token, k)

and the visual tokens with the highest score, and all text, enter layer K. Layers below K have seen,
and cached, the whole prompt.

Differences from the official code, and why:
- Only that one row of attention is computed, from q_proj and k_proj (+ norms, + the model's
  own rotary cos and sin), so SDPA and FlashAttention stay on; there, layer K - 1 runs in eager mode, or
  twice, which doubles its cache entries.
- Batches with padding, several images at any place, beams, static caches; there batch 1 and one
  image at a fixed offset. Kept tokens keep their positions.
- The count is the central budget; there it is absolute, ``round`` or ``int``, by code path.

Hooks stand on the decoder layers only inside :meth:`FastV.hooks`. A prefill is cut at layer K; the
layers from there on get a causal mask of their own, sized by their caches, because the model's one
mask is sized by layer 0. Cost: one key projection, one row of attention, one gather.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family
from hawk.models.cache import NAME as CACHE
from hawk.models.cache import given_cache
from hawk.models.hooks import Hooks, own_hooks
from hawk.pruning.base import Pruner, highest
from hawk.pruning.context import LastRun, PruningContext
from hawk.pruning.fetch import send
from hawk.pruning.prompt import PrunedPrompt
from hawk.pruning.rotary import rotate


@dataclass(frozen=True)
class FastV(Pruner):
    """Tokens that the last prompt token attends to, dropped inside the model at layer K.

    Parameters
    ----------
    layer : int, default 2
        The paper's K: the first decoder layer that gets fewer tokens; 1 or more.
    """

    layer: int = 2

    bounds = {"layer": "1..layers"}
    allowed = {"position_policy": ("keep",)}
    paper = "FastV, ECCV 2024, arXiv 2403.06764"
    uses_query = True  # of its own prompt: no other question can be put there
    inside_model = True

    def __post_init__(self) -> None:
        if self.position_policy != "keep":  # first: it says why
            raise InputError(
                f"fastv: position_policy {self.position_policy!r} is not possible: the layers "
                "below K have cached the prompt at its own positions. Use 'keep'."
            )
        super().__post_init__()

    def check(self, model: nn.Module, family: Family) -> None:
        layers = family.geometry(model).layers
        if self.layer >= layers:
            raise InputError(f"fastv: layer {self.layer}; it must be below the model's {layers}.")

    def kept_indices(self, context: PruningContext) -> Tensor:
        """Every token enters the model."""
        return torch.arange(context.tokens)

    @contextmanager
    def hooks(self, model: nn.Module, family: Family, prompt: PrunedPrompt) -> Iterator[None]:
        if self.inactive or not any(prompt.last.visual_tokens):
            yield
            return
        with own_hooks() as hooks:
            _Cut(self, model, family, prompt).register(hooks)
            yield


class _Cut:
    """The hooks and what they know of the pass in progress. S columns enter, S' remain.

    prompt: what the hooks will meet, of padded width L; nothing was removed from it yet.
    """

    def __init__(self, pruner: FastV, model: nn.Module, family: Family, prompt: PrunedPrompt) -> None:
        self.pruner, self.model, self.family, self.prompt = pruner, model, family, prompt
        self.ids, self.real = prompt.input_ids, prompt.attention_mask.bool()  # [batch, L]
        self.scores: Tensor | None = None  # [batch, L] of the prefill in progress
        self.index: Tensor | None = None  # [batch, S'] columns kept, left-padded with column 0
        self.mask = torch.empty(0)  # [batch, S'] which of them are real; on the CPU, which asks every layer
        self.removed = 0  # S - S'
        self.prefill = False
        self.causal: dict[torch.device, Any] = {}  # masks of the pass in progress, from layer K on all alike
        self.rotary: tuple[Tensor, Tensor] | None = None
        self.deep: tuple[Tensor, list[Tensor]] | None = None

    def register(self, hooks: Hooks) -> None:
        decoder, layers = self.family.decoder(self.model), self.family.layers(self.model)
        hooks.before(self.model, self.check_prompt)
        hooks.before(decoder, self.take_levels)
        hooks.before(layers[self.pruner.layer - 1], self.score)
        for number, layer in enumerate(layers):
            if number >= self.pruner.layer:
                hooks.before(layer, _numbered(self.enter, number))
            hooks.after(layer, _numbered(self.add_level, number))

    # --- hooks, in the order in which a forward pass meets them ------------------------------
    def check_prompt(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """A prefill must be over the prompts that were prepared: scores need their last column."""
        ids, own = kwargs.get("input_ids", args[0] if args else None), self.ids
        if ids is None or _seen(kwargs, 0) > 0:
            return
        copies, rest = divmod(len(ids), len(own))
        width = own.shape[1]
        if rest or not torch.equal(ids[:, :width], own.repeat_interleave(max(copies, 1), 0)):
            raise InputError(
                f"{self.pruner!r}: the model was given other prompts than those prepared. FastV does not "
                "support a second prompt in one generate (guidance_scale) nor chunked prefill."
            )

    def take_levels(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Qwen3-VL adds deep-stack features at full length; below they are added at any length."""
        self.deep = None
        levels = kwargs.get("deepstack_visual_embeds")
        if levels is None or len(levels) <= self.pruner.layer:
            return None
        self.deep = (kwargs["visual_pos_masks"], list(levels))
        return args, {**kwargs, "visual_pos_masks": None, "deepstack_visual_embeds": None}

    def score(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Attention of the last prompt token over the prompt in layer K - 1."""
        self.prefill = _seen(kwargs, self.pruner.layer - 1) == 0
        if not self.prefill:
            return
        width = self.ids.shape[1]
        copies = len(args[0]) // len(self.ids)
        # Copies of a prompt (beams) are adjacent and equal; the projections see them all, as ever.
        cos, sin = (part.expand(len(args[0]), -1, -1)[::copies, :width] for part in _rotary(kwargs))
        layer = self.family.scoring_layer(self.model, self.pruner.layer - 1)
        normed = layer.norm(args[0][:, :width])
        queries, keys = layer.queries(normed[:, -1:])[::copies], layer.keys(normed)[::copies]
        cos, sin = cos.to(keys.device), sin.to(keys.device)  # a split model makes them once, elsewhere
        queries = rotate(queries, cos[:, -1:], sin[:, -1:]).float()
        keys = rotate(keys, cos, sin).float()
        grouped = queries[:, 0].unflatten(1, (layer.kv_heads, -1))  # [batch, kv, heads / kv, d]
        products = torch.einsum("bgrd,bngd->bgrn", grouped, keys) * layer.head_dim**-0.5
        padding = ~self.real.to(products.device)
        products = products.masked_fill(padding[:, None, None], -torch.inf)
        self.scores = products.softmax(-1).mean((1, 2)).to(self.ids.device)

    def enter(self, number: int, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """At every layer from K on: cut the prefill, and give the mask that fits."""
        hidden = args[0]
        if self.prefill:
            if number == self.pruner.layer:
                self.choose(hidden)
                assert self.index is not None
                hidden = _columns(hidden, self.index)
                parts = (part.expand(len(hidden), -1, -1) for part in _rotary(kwargs))
                cos, sin = (_columns(part, self.index) for part in parts)
                self.rotary = (cos, sin)
            kwargs["position_embeddings"] = self.rotary
            if kwargs.get("position_ids") is not None:
                # Only FlashAttention reads them, to find packed sequences by their gaps.
                count = torch.arange(hidden.shape[1], device=hidden.device)
                kwargs["position_ids"] = count.expand(len(hidden), -1)
        self.check_cache(number, hidden, kwargs)
        if number == self.pruner.layer:
            self.causal = {}
        if hidden.device not in self.causal:  # a padded one is waited for
            self.causal[hidden.device] = self.causal_mask(number, module, hidden, kwargs)
        kwargs["attention_mask"] = self.causal[hidden.device]
        return (hidden, *args[1:]), kwargs

    def choose(self, hidden: Tensor) -> None:
        """Which columns enter layer K, for every row."""
        assert self.scores is not None
        # The scores come to the CPU in one wait, what is made of them needs no other.
        scores, width, length = self.scores.cpu(), self.ids.shape[1], hidden.shape[1]
        keep = torch.ones(len(self.ids), length, dtype=torch.bool)
        keep[:, :width] = self.real.cpu()
        kept_index = []
        for row, columns in enumerate(self.prompt.visual_columns):
            kept = self.best(scores[row, columns], self.prompt.budget_group[row])
            keep[row, columns] = False
            keep[row, columns[kept]] = True
            kept_index.append(kept)
        # Left-pack: a stable sort puts what is dropped before what is kept, both in order.
        order = torch.sort(keep.int(), dim=1, stable=True).indices
        remaining = int(keep.sum(1).max())
        copies = len(hidden) // len(self.ids)
        self.removed = length - remaining
        mask = keep.gather(1, order).long()
        self.index = send(order[:, self.removed :].repeat_interleave(copies, 0), hidden.device)
        self.mask = mask[:, self.removed :].repeat_interleave(copies, 0)
        self.scores = None
        self.prompt.last = LastRun.of(self.prompt.last.visual_tokens, kept_index)

    def best(self, scores: Tensor, group: Tensor) -> Tensor:
        """Which visual tokens of one row remain, by the central budget."""
        if not len(scores):
            return torch.empty(0, dtype=torch.long)
        scores = self.pruner.finite(scores)
        return self.pruner.within_budget(group, lambda among, count: highest(scores, among, count))

    def check_cache(self, number: int, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        # Layer K - 1 has run already and cached this pass's tokens, this layer has not.
        ahead = _seen(kwargs, self.pruner.layer - 1) - _seen(kwargs, number)
        if not self.prefill and ahead != self.removed + hidden.shape[1]:
            raise InputError(
                f"{self.pruner!r}: the cache was cropped to one length for all layers, as assisted "
                "decoding does; that is not supported."
            )

    def causal_mask(self, number: int, module: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Any:
        from transformers.masking_utils import create_causal_mask

        total = _seen(kwargs, number) + hidden.shape[1]
        mask = self.mask.repeat_interleave(len(hidden) // len(self.mask), 0)
        new = mask.new_ones(len(mask), total - mask.shape[1])
        mask = torch.cat([mask, new], dim=1)
        return create_causal_mask(
            config=module.self_attn.config,
            inputs_embeds=hidden,
            attention_mask=None if bool(mask.all()) else send(mask, hidden.device),
            layer_idx=number,
            **{CACHE: given_cache(kwargs)},
        )

    def add_level(self, number: int, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """Deep-stack level ``number`` goes on top of this layer's output, cut where that is cut."""
        if self.deep is None or number >= len(self.deep[1]):
            return None
        where, levels = self.deep
        full = output.new_zeros(*where.shape, output.shape[-1])
        full[where.to(output.device)] = levels[number].to(output)
        if number >= self.pruner.layer:
            assert self.index is not None
            full = _columns(full, self.index)
        return output + full


def _numbered(hook: Any, number: int) -> Any:
    return lambda *args: hook(number, *args)


def _columns(values: Tensor, index: Tensor) -> Tensor:
    """The columns ``index`` [batch, S'] of values [batch, S, ...], on the device of the values."""
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, index.to(values.device)]


def _rotary(kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return kwargs["position_embeddings"]


def _seen(kwargs: dict[str, Any], layer: int) -> int:
    """Tokens in a layer's cache before this pass."""
    cache = given_cache(kwargs)
    return 0 if cache is None else int(cache.get_seq_length(layer))
