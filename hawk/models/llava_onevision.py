"""LLaVA-OneVision: a base view, then the tiled image row by row with a newline token after each row.

Newline tokens are one learned vector and show nothing, but they stand on ordinary placeholders and
cost as much as any token: here they count as visual tokens and may be pruned like the others (so
do DivPrune and its followers). Rows are irregular after unpadding, so ``grid`` is one row of tokens
for a tiled image. Several images in a sample are not tiled; each is one square and one newline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from hawk.core.errors import InputError
from hawk.core.values import shown
from hawk.models.base import Family, Layout, VisualItem
from hawk.models.turns import Markers


class LlavaOneVision(Family):
    """``LlavaOnevisionForConditionalGeneration``."""

    name = "llava_onevision"
    several_differ = True

    def placeholders(self, config: Any) -> dict[str, int]:
        return {"image": config.image_token_id, "video": config.video_token_id}

    def encode(self, model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, list[VisualItem]]:
        items: dict[str, list[VisualItem]] = {}
        stored = inputs.get("mm_encoder_outputs") or {}
        if stored.get("image") is not None or inputs.get("pixel_values") is not None:
            items["image"] = self._images(model, inputs, stored.get("image"))
        if stored.get("video") is not None or inputs.get("pixel_values_videos") is not None:
            items["video"] = self._videos(model, inputs, stored.get("video"))
        return items

    def _images(self, model: nn.Module, inputs: Mapping[str, Any], output: Any) -> list[VisualItem]:
        sizes = inputs.get("image_sizes")
        if sizes is None:
            raise InputError("image_sizes is missing; the processor gives it beside pixel_values.")
        if sizes.ndim != 2 or sizes.shape[-1] != 2 or sizes.is_floating_point() or not (sizes > 0).all():
            raise InputError(f"image_sizes is {shown(sizes.tolist())}; rows of height and width are allowed.")
        tiled = self.tiled(inputs, sizes)
        if output is None:
            self._check_views(model, inputs["pixel_values"], sizes, tiled)
            output = self.image_features(model, inputs, sizes)
        side = _side(model.config)
        lengths = [
            len(self._packed(model, size)) if tile else side**2 + 1
            for size, tile in zip(sizes, tiled, strict=True)
        ]
        flat = torch.cat(list(output.pooler_output))
        if sum(lengths) != len(flat):
            raise InputError(f"image_sizes stand for {sum(lengths)} visual tokens; there are {len(flat)}.")
        return [
            VisualItem(
                features=features,
                grid=(1, 1, len(features)) if tile else (1, side, side),
                meta={"image_size": [int(n) for n in size], "tiled": bool(tile)},
            )
            for features, size, tile in zip(flat.split(lengths), sizes, tiled, strict=True)
        ]

    def _check_views(self, model: nn.Module, pixels: Tensor, sizes: Tensor, tiled: Sequence[Any]) -> None:
        """As many images as sizes, each with as many views as its size asks for."""
        views = [_views(model, size) if tile else 1 for size, tile in zip(sizes, tiled, strict=True)]
        if pixels.ndim == 5:
            fits = len(pixels) == len(sizes) and pixels.shape[1] >= max(views, default=1)
        else:  # the views of all images, one after another
            fits = len(pixels) == sum(views)
        if not fits:
            raise InputError(
                f"image_sizes are of {len(sizes)} images with {shown(views)} views; pixel_values has shape "
                f"{list(pixels.shape)}."
            )

    def image_features(self, model: nn.Module, inputs: Mapping[str, Any], sizes: Tensor) -> Any:
        """The model's own encoding of all images."""
        return model.model.get_image_features(
            inputs["pixel_values"], sizes, batch_num_images=inputs.get("batch_num_images"), return_dict=True
        )

    def tiled(self, inputs: Mapping[str, Any], sizes: Sequence[Any]) -> Any:
        """Per image whether it is tiled: told with stored features, else as the model decides it."""
        tiled = inputs.get("image_tiled")
        if tiled is None:
            counts = inputs.get("batch_num_images")
            counts = [1] * len(sizes) if counts is None else [int(n) for n in counts]
            if sum(counts) != len(sizes):
                raise InputError(f"batch_num_images is {counts}; image_sizes are of {len(sizes)} images.")
            tiled = [n == 1 for n in counts for _ in range(n)]
        return tiled

    def pack(self, model: nn.Module, views: Sequence[Tensor], sizes: Tensor, newline: Tensor) -> list[Tensor]:
        """The model's own packing: the views of every image, [views, patches, width] → [tokens, width]."""
        packed, _ = model.model.pack_image_features(
            views, sizes, image_newline=newline, vision_aspect_ratio=model.config.vision_aspect_ratio
        )
        return list(packed)

    def _packed(self, model: nn.Module, size: Tensor) -> Tensor:
        """A tiled image without content as the model packs it, [tokens, 1]: newlines are 1."""
        empty = torch.zeros(_views(model, size), _side(model.config) ** 2, 1)
        return self.pack(model, [empty], size[None], torch.ones(1))[0]

    def _videos(self, model: nn.Module, inputs: Mapping[str, Any], output: Any) -> list[VisualItem]:
        side = ceil(_side(model.config) / 2)  # frames are pooled to half the side
        if output is None:
            output = model.model.get_video_features(inputs["pixel_values_videos"], return_dict=True)
            videos = list(output.pooler_output)  # each [frames · side² + 1, hidden], newline last
        else:
            frames = inputs.get("video_frames")
            if frames is None:
                raise InputError("video_frames is missing; stored video features need it.")
            lengths = [int(n) * side**2 + 1 for n in frames]
            videos = list(output.pooler_output.flatten(0, 1).split(lengths))
        return [
            VisualItem(
                features=features,
                grid=((len(features) - 1) // side**2, side, side),
                modality="video",
                meta={"frames": (len(features) - 1) // side**2},
            )
            for features in videos
        ]

    def place_observed(
        self, model: nn.Module, inputs: Mapping[str, Any], seen: Sequence[Tensor]
    ) -> list[Tensor]:
        """Numbers per patch go the way of the features: tiles joined, unpadded and resized; frames pooled.

        Newline tokens show nothing of the image and get 0.
        """
        placed, runs = [], [run[..., None] for run in seen]  # [views, patches, 1]
        if runs and inputs.get("pixel_values") is not None:
            sizes, views = inputs["image_sizes"], runs.pop(0)
            counts = [
                _views(model, size) if tile else 1
                for size, tile in zip(sizes, self.tiled(inputs, sizes), strict=True)
            ]
            packed = self.pack(model, views.split(counts), sizes, views.new_zeros(1))
            placed.append(torch.cat(packed)[:, 0])
        for frames in runs:
            videos = len(inputs["pixel_values_videos"])
            pooled = model.model.apply_pooling(frames).reshape(videos, -1)
            placed.append(nn.functional.pad(pooled, (0, 1)).flatten())
        return placed

    def layout(self, model: nn.Module, processor: Any, item: VisualItem, size: tuple[int, int]) -> Layout:
        if item.modality == "video" or not item.meta["tiled"]:
            return super().layout(model, processor, item, size)
        packed = self._packed(model, torch.tensor(item.meta["image_size"]))
        newlines = packed.flatten().nonzero().flatten().tolist()
        base = _side(model.config) ** 2
        columns = newlines[0] - base
        starts = [base, *(newline + 1 for newline in newlines[:-1])]
        cells = [start + column for start in starts for column in range(columns)]
        return Layout(len(starts), columns, tuple(cells))

    def layouts(
        self, model: nn.Module, processor: Any, item: VisualItem, size: tuple[int, int]
    ) -> list[Layout]:
        first = self.layout(model, processor, item, size)
        side = _side(model.config)
        base = Layout(side, side, tuple(range(side**2)))  # the view of all of it, before the tiles
        return [first, base] if item.meta.get("tiled") else [first]

    def encoder_outputs(
        self, features: Mapping[str, Tensor], levels: Mapping[str, Sequence[Tensor]]
    ) -> dict[str, Any]:
        shapes = {"image": lambda f: list(f.split(1)), "video": lambda f: f[:, None]}
        return {
            modality: BaseModelOutputWithPooling(pooler_output=shapes[modality](values))
            for modality, values in features.items()
            if len(values)
        }

    def stored_inputs(self, items: Sequence[VisualItem]) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        images = [item for item in items if item.modality == "image"]
        if images:
            inputs["image_sizes"] = torch.tensor([item.meta["image_size"] for item in images])
            inputs["image_tiled"] = torch.tensor([item.meta["tiled"] for item in images])
        frames = [item.meta["frames"] for item in items if item.modality == "video"]
        if frames:
            inputs["video_frames"] = torch.tensor(frames)
        return inputs

    def markers(self, tokenizer: Any, config: Any) -> Markers:
        # Its template writes no line break behind the role, so one that stands there is text.
        return replace(super().markers(tokenizer, config), newline=None)

    def published_markers(self, config: Any) -> Markers | None:
        # "<|im_start|>" "user" and "<|im_end|>" of the Qwen2 vocabulary.
        return Markers((151644, 872), (151645,)) if config.image_token_id == 151646 else None


def _side(config: Any) -> int:
    return config.vision_config.image_size // config.vision_config.patch_size


def _views(model: nn.Module, size: Tensor) -> int:
    """The base view and the tiles of a tiled image."""
    config = model.config
    return int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))
