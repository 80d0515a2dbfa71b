"""VisionZip, dominant tokens: what the vision tower itself attends to.

Paper: VisionZip, CVPR 2025 (arXiv 2412.04467; code Apache-2.0), section 3.1. In one layer of the
vision tower, with attention A averaged over heads,

    score_k = A(CLS, k)                 towers with a class token (InternVL)
    score_k = Σ over queries q A(q, k)  towers without (Qwen, SigLIP): attention received

and the tokens with the highest score stay. Where the tower merges patches into one visual token,
their mean counts; where a family resizes its tokens (LLaVA-OneVision's tiles and frames), scores are
resized with them, and its newline tokens, which no patch stands for, count 0. Text plays no part.

Differences from the official code, and why:
- Dominant tokens only. It also keeps the class token, and merges the others into "contextual" tokens,
  which are new vectors and no selection; dominant tokens get the whole budget here.
- Its default layer is that from which LLaVA takes features (the last but one). Here ``layer`` is
  by default the last one whose attention spans the image: the last full-attention block of Qwen's
  towers, the feature layer of InternVL's and LLaVA-OneVision's.
- Scores are relative to uniform attention, so that images of different size can share a budget.
- Attention is computed for this layer alone, in slabs, from its own projections: SDPA and
  FlashAttention stay on.

Cost: one more query and key projection and O(n²) time in that layer, O(n) memory. It needs the
tower: features that were stored without its attention are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.models.base import Family
from hawk.models.hooks import own_hooks
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.merger import carry
from hawk.pruning.rotary import rotate

_SLAB = 1 << 21  # products of one head at a time


@dataclass(frozen=True)
class VisionZip(Pruner):
    """Tokens that receive the most attention in the vision tower.

    Parameters
    ----------
    layer : int or None, default None
        The tower's layer, negative from the end. None: the last whose attention spans the image.
    """

    layer: int | None = None

    paper = "VisionZip, CVPR 2025, arXiv 2412.04467"
    uses_tower = True

    def check(self, model: nn.Module, family: Family) -> None:
        if family.name not in TOWERS:
            raise InputError(
                f"visionzip does not know the vision tower of {family.name!r}, only of: "
                f"{', '.join(sorted(TOWERS))}."
            )

    @contextmanager
    def watch(self, model: nn.Module, family: Family) -> Iterator[list[Tensor]]:
        """Yields one tensor per run of the tower, a number per token in the tower's output order.

        For LLaVA-OneVision [views, patches]: its ``place_observed`` knows how they become tokens.
        """
        self.check(model, family)
        seen: list[Tensor] = []
        if any(True for _ in _tower(model).parameters()):  # else dropped: features are stored
            with TOWERS[family.name](model, self.layer, seen):
                yield seen
        else:
            yield seen

    def scores(self, context: PruningContext) -> Tensor:
        return context.of_tower("visionzip")


def _tower(model: nn.Module) -> nn.Module:
    return family_of(model).vision_modules(model)[0]


@contextmanager
def _qwen(model: nn.Module, layer: int | None, seen: list[Tensor]) -> Iterator[None]:
    """Towers without class token whose merger makes one token of adjacent patches."""
    tower = _tower(model)
    if layer is None:
        full = getattr(tower, "fullatt_block_indexes", None) or [len(tower.blocks) - 1]
        layer = max(full)
    attention = _layer(tower.blocks, layer).attn
    unit = tower.spatial_merge_size**2
    received_attention: list[Tensor] = []

    def measure(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        cos, sin = kwargs["position_embeddings"]
        projected = module.qkv(hidden).unflatten(-1, (3, module.num_heads, -1)).float()
        queries, keys = (rotate(projected[:, i], cos.float(), sin.float()) for i in (0, 1))
        edges = kwargs["cu_seqlens"].tolist()
        parts = [
            received(queries[begin:end], keys[begin:end])
            for begin, end in zip(edges[:-1], edges[1:], strict=True)
        ]
        received_attention[:] = [torch.cat(parts).unflatten(0, (-1, unit)).mean(1)]

    with own_hooks() as hooks:
        hooks.before(attention, measure)
        carry(hooks, tower, received_attention, seen)
        yield


def received(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention that every patch receives from all of its segment, [n, heads, d] → [n], mean 1."""
    keys = keys.permute(1, 2, 0) / queries.shape[-1] ** 0.5  # [heads, d, n]
    total = queries.new_zeros(queries.shape[0])
    for slab in queries.split(max(1, _SLAB // len(queries))):
        total += (slab.transpose(0, 1) @ keys).softmax(-1).sum(1).mean(0)
    return total


@contextmanager
def _internvl(model: nn.Module, layer: int | None, seen: list[Tensor]) -> Iterator[None]:
    """A class token, and pixel shuffle: the model's own puts the scores where its tokens go."""
    tower = _tower(model)
    layer = model.config.vision_feature_layer if layer is None else layer
    attention = _layer(tower.encoder.layer, layer).attention

    def measure(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]  # [tiles, 1 + patches, width]
        heads = (module.num_heads, module.head_dim)
        query = module.q_norm(module.q_proj(hidden[:, :1])).unflatten(-1, heads).float()
        keys = module.k_norm(module.k_proj(hidden)).unflatten(-1, heads).float()
        products = torch.einsum("tqhd,tnhd->thn", query, keys) * module.head_dim**-0.5
        patches = products.softmax(-1).mean(1)[:, 1:]
        side = round(patches.shape[1] ** 0.5)
        grid = (patches * patches.shape[1]).view(-1, side, side, 1)
        merged = model.model.pixel_shuffle(grid, scale_factor=model.config.downsample_ratio)
        seen.append(merged.mean(-1).flatten())

    with own_hooks() as hooks:
        hooks.before(attention, measure)
        yield


@contextmanager
def _clip_or_siglip(model: nn.Module, layer: int | None, seen: list[Tensor]) -> Iterator[None]:
    """Every patch a token; views are tiles of images or frames of videos. CLIP has a class token."""
    chosen = model.config.vision_feature_layer if layer is None else layer
    chosen = chosen if isinstance(chosen, int) else chosen[-1]
    attention = _layer(_tower(model).encoder.layers, chosen).self_attn

    def measure(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]  # [views, patches, width]
        heads = (module.num_heads, module.head_dim)
        queries, keys = (p(hidden).unflatten(-1, heads).float() for p in (module.q_proj, module.k_proj))
        if model.config.vision_config.model_type == "clip_vision_model":
            products = torch.einsum("vhd,vnhd->vhn", queries[:, 0], keys) * module.head_dim**-0.5
            patches = products.softmax(-1).mean(1)[:, 1:]
            seen.append(patches * patches.shape[1])
        else:
            seen.append(torch.stack([received(q, k) for q, k in zip(queries, keys, strict=True)]))

    handle = attention.register_forward_pre_hook(measure, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _idefics3(model: nn.Module, layer: int | None, seen: list[Tensor]) -> Iterator[None]:
    """No class token, and pixel shuffle: the model's own puts the scores where its tokens go."""
    attention = _layer(_tower(model).encoder.layers, -1 if layer is None else layer).self_attn

    def measure(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]  # [tiles, patches, width]
        heads = (module.num_heads, module.head_dim)
        queries, keys = (p(hidden).unflatten(-1, heads).float() for p in (module.q_proj, module.k_proj))
        patches = torch.stack([received(q, k) for q, k in zip(queries, keys, strict=True)])
        connector = model.model.connector
        seen.append(connector.pixel_shuffle(patches[..., None], connector.scale_factor).mean(-1))

    with own_hooks() as hooks:
        hooks.before(attention, measure)
        yield


def _layer(layers: nn.ModuleList, number: int) -> nn.Module:
    if not -len(layers) <= number < len(layers):
        raise InputError(
            f"visionzip: layer {number} is outside the vision tower's {-len(layers)} to {len(layers) - 1}."
        )
    return layers[number]


TOWERS: dict[str, Callable[[nn.Module, int | None, list[Tensor]], Any]] = {
    "qwen2_vl": _qwen,
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "internvl": _internvl,
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
    "llava": _clip_or_siglip,
    "llava_next": _clip_or_siglip,
    "llava_onevision": _clip_or_siglip,
}
