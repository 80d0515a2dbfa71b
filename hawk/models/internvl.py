"""InternVL3: tiles and a thumbnail per image, plain 2-D positions, no processor output per image.

An image is one run of context tokens between ``<img>`` and ``</img>``: its tiles one after the
other, each a square of ``image_seq_length`` tokens, the thumbnail last. Which tiles belong together
is read off the prompt. Video frames are images to the model ("Frame1: <img>…</img>"), so each
frame is an item of its own, and ``budget="per_image"`` is a budget per frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hawk.core.errors import InputError
from hawk.models.base import Family, Layout, VisualItem
from hawk.models.turns import Markers, token_id

# The context token of the published checkpoints; <img> and </img> are the two ids before it.
_PUBLISHED = {151667: "InternVL3", 151671: "InternVL3.5"}


class InternVL(Family):
    """``InternVLForConditionalGeneration``, the ``-hf`` checkpoints."""

    name = "internvl"

    def placeholders(self, config: Any) -> dict[str, int]:
        return {"image": config.image_token_id}

    def encode(self, model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, list[VisualItem]]:
        output = (inputs.get("mm_encoder_outputs") or {}).get("image")
        if output is None and inputs.get("pixel_values") is None:
            return {}
        if output is None:
            output = model.model.get_image_features(
                inputs["pixel_values"],
                vision_feature_layer=model.config.vision_feature_layer,
                vision_feature_select_strategy=model.config.vision_feature_select_strategy,
                return_dict=True,
            )
        features = output.pooler_output.flatten(0, 1)  # [tiles · tokens, hidden]
        side = isqrt(model.config.image_seq_length)
        runs = _runs(inputs["input_ids"], model.config.image_token_id)
        total = sum(length for _, length, _ in runs)
        if total != len(features):
            raise InputError(
                f"{total} image placeholders in the prompts, but {len(features)} visual tokens in "
                f"{len(features) // side**2} tiles."
            )
        items, offset = [], 0
        for before, length, after in runs:
            items.append(
                VisualItem(
                    features=features[offset : offset + length],
                    grid=(length // side**2, side, side),
                    meta={"wrap": [before, after]},
                )
            )
            offset += length
        return {"image": items}

    def video_text(self, processor: Any, clip: Any) -> tuple[str, int]:
        frames = len(clip.frames)
        return "\n".join(f"Frame{i + 1}: {processor.image_token}" for i in range(frames)), frames

    def layout(self, model: nn.Module, processor: Any, item: VisualItem, size: tuple[int, int]) -> Layout:
        tiles, side, _ = item.grid
        if tiles == 1:
            return super().layout(model, processor, item, size)
        from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

        image = processor.image_processor
        across, down = get_optimal_tiled_canvas(
            size, (image.size["height"], image.size["width"]), image.min_patches, image.max_patches
        )
        order = torch.arange(down * across * side**2).view(down, across, side, side)
        cells = order.permute(0, 2, 1, 3).flatten()
        return Layout(down * side, across * side, tuple(cells.tolist()))

    def encoder_outputs(
        self, features: Mapping[str, Tensor], levels: Mapping[str, Sequence[Tensor]]
    ) -> dict[str, Any]:
        return {
            modality: BaseModelOutputWithPooling(pooler_output=values[:, None])
            for modality, values in features.items()
            if len(values)
        }

    def expand(self, ids: Sequence[int], items: Sequence[VisualItem], config: Any) -> list[int]:
        """The template renders an image as a bare context token; the processor wraps its tokens."""
        out: list[int] = []
        runs = [(run, item.meta["wrap"]) for item in items for run in item.runs]
        queue = iter(runs)
        for token in super().expand(ids, [_ONE] * len(runs), config):
            if token == config.image_token_id:
                run, (before, after) = next(queue)
                out += [before, *[token] * run, after]
            else:
                out.append(token)
        return out

    def visual_markers(self, tokenizer: Any, config: Any) -> frozenset[int]:
        if tokenizer is None:
            return frozenset({config.image_token_id - 2, config.image_token_id - 1})
        return frozenset({token_id(tokenizer, "<img>"), token_id(tokenizer, "</img>")})

    def published_markers(self, config: Any) -> Markers | None:
        # "<|im_start|>" "user", "<|im_end|>" and "\n" of the Qwen2.5 and Qwen3 vocabularies.
        if config.image_token_id not in _PUBLISHED:
            return None
        return Markers((151644, 872), (151645,), self.visual_markers(None, config), newline=198)


# Stands for any item when only the order of placeholders matters.
_ONE = VisualItem(features=torch.empty(1, 0), grid=(1, 1, 1))


def _runs(ids: Tensor, token: int) -> list[tuple[int, int, int]]:
    """Runs of ``token`` in a batch [batch, T], row by row: (id before, length, id after)."""
    runs = []
    for row in ids.tolist():
        begin = None
        for i, current in enumerate([*row, None]):
            if current == token:
                begin = i if begin is None else begin
            elif begin is not None:
                before = row[begin - 1] if begin else -1
                runs.append((before, i - begin, -1 if current is None else current))
                begin = None
    return runs
