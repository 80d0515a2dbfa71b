"""Qwen2.5-VL: 3-D positions, one list of features per image, one patch grid per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family, VisualItem
from hawk.models.turns import Markers


def check_grids(grids: Tensor, name: str, merge: int) -> None:
    """Refuse what is no list of (times, rows, columns), or cannot be merged evenly."""
    if grids.ndim != 2 or grids.shape[-1] != 3 or grids.is_floating_point() or grids.dtype == torch.bool:
        raise InputError(
            f"{name} is a {grids.dtype} tensor of shape {list(grids.shape)}; whole numbers [items, 3] are "
            "allowed."
        )
    for t, h, w in grids.tolist():
        if min(t, h, w) < 1 or h % merge or w % merge or max(t, h, w) > 10**6:
            raise InputError(
                f"{name} holds {[t, h, w]}; times, rows and columns are 1 or more, the last two multiples of "
                f"{merge}."
            )


class Qwen2_5VL(Family):  # noqa: N801
    """``Qwen2_5_VLForConditionalGeneration``."""

    name = "qwen2_5_vl"
    position_rows = 4
    packs_vision = True

    def placeholders(self, config: Any) -> dict[str, int]:
        return {"image": config.image_token_id, "video": config.video_token_id}

    def pixel_shape(self, config: Any) -> tuple[int, ...]:
        vision = config.vision_config
        return (vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,)  # one patch

    def encode(self, model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, list[VisualItem]]:
        merge = model.config.vision_config.spatial_merge_size
        seconds = inputs.get("second_per_grid_ts")
        items: dict[str, list[VisualItem]] = {}
        for modality, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
            output = (inputs.get("mm_encoder_outputs") or {}).get(modality)
            grids = inputs.get(f"{modality}_grid_thw")
            if output is None and inputs.get(pixels) is None:
                continue
            if grids is None:
                raise InputError(f"{modality}_grid_thw is missing; the processor gives it beside {pixels}.")
            check_grids(grids, f"{modality}_grid_thw", merge)
            if output is None:
                rows = int(grids.prod(-1).sum())
                if rows != len(inputs[pixels]):
                    raise InputError(
                        f"{modality}_grid_thw says {rows} patches; {pixels} has {len(inputs[pixels])} rows."
                    )
                encoder = getattr(model.model, f"get_{modality}_features")
                output = encoder(inputs[pixels], grids.to(inputs[pixels].device), return_dict=True)
            if modality == "video" and seconds is not None and len(seconds) != len(grids):
                raise InputError(f"second_per_grid_ts has {len(seconds)} entries for {len(grids)} videos.")
            features, levels = self.per_item(output, grids.prod(-1) // merge**2)
            items[modality] = []
            for i, (t, h, w) in enumerate(grids.tolist()):
                meta: dict[str, Any] = {"grid_thw": [t, h, w]}
                if modality == "video" and seconds is not None:
                    meta["second_per_grid"] = float(seconds[i])
                items[modality].append(
                    VisualItem(
                        features=features[i],
                        grid=(t, h // merge, w // merge),
                        modality=modality,
                        levels=tuple(level[i] for level in levels),
                        meta=meta,
                    )
                )
        return items

    def per_item(self, output: Any, sizes: Tensor) -> tuple[Sequence[Tensor], list[Sequence[Tensor]]]:
        """An encoder output → features per item and, per level, the same."""
        flat = torch.cat(list(output.pooler_output))
        return flat.split(sizes.tolist()), []

    def stored_inputs(self, items: Sequence[VisualItem]) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for modality in ("image", "video"):
            grids = [item.meta["grid_thw"] for item in items if item.modality == modality]
            if grids:
                inputs[f"{modality}_grid_thw"] = torch.tensor(grids)
        seconds = [item.meta.get("second_per_grid") for item in items if item.modality == "video"]
        if seconds and None not in seconds:
            inputs["second_per_grid_ts"] = torch.tensor(seconds)
        return inputs

    def position_ids(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        placeholders = self.placeholders(model.config)
        types = torch.zeros_like(ids)
        types[ids == placeholders["image"]] = 1
        types[ids == placeholders["video"]] = 2
        keys = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
        rows, _ = model.model.get_rope_index(
            ids,
            mm_token_type_ids=types,
            attention_mask=mask,
            **{key: inputs[key] for key in keys if inputs.get(key) is not None},
        )
        text = (mask.long().cumsum(-1) - 1).clamp(min=0)
        return torch.cat([text[None], rows])  # [4, batch, T]

    def visual_markers(self, tokenizer: Any, config: Any) -> frozenset[int]:
        return frozenset({config.vision_start_token_id, config.vision_end_token_id})

    def published_markers(self, config: Any) -> Markers | None:
        # "<|im_start|>" "user", "<|im_end|>" and "\n" of the Qwen2.5 vocabulary.
        if config.text_config.vocab_size < 151_936:
            return None
        return Markers((151644, 872), (151645,), self.visual_markers(None, config), newline=198)
