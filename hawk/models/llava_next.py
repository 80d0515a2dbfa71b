"""LLaVA-NeXT (1.6): LLaVA-OneVision's base view, tiles and newlines, with CLIP's tower and no video.

Every image is tiled, also one of several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hawk.models.base import VisualItem
from hawk.models.llava import grid_side, turn_markers
from hawk.models.llava_onevision import LlavaOneVision
from hawk.models.turns import Markers


class LlavaNext(LlavaOneVision):
    """``LlavaNextForConditionalGeneration``."""

    name = "llava_next"
    several_differ = False
    takes_video = False

    def check_config(self, config: Any) -> None:
        grid_side(config)

    def placeholders(self, config: Any) -> dict[str, int]:
        return {"image": config.image_token_id}

    def image_features(self, model: nn.Module, inputs: Mapping[str, Any], sizes: Tensor) -> Any:
        return model.model.get_image_features(inputs["pixel_values"], sizes, return_dict=True)

    def tiled(self, inputs: Mapping[str, Any], sizes: Sequence[Any]) -> Any:
        return [True] * len(sizes)

    def pack(self, model: nn.Module, views: Sequence[Tensor], sizes: Tensor, newline: Tensor) -> list[Tensor]:
        strategy = model.config.vision_feature_select_strategy
        packed, _ = model.model.pack_image_features(views, sizes, strategy, newline)
        return list(packed)

    def stored_inputs(self, items: Sequence[VisualItem]) -> dict[str, Any]:
        return {"image_sizes": torch.tensor([item.meta["image_size"] for item in items])} if items else {}

    def markers(self, tokenizer: Any, config: Any) -> Markers:
        return turn_markers(tokenizer, config)

    def published_markers(self, config: Any) -> Markers | None:
        return None
