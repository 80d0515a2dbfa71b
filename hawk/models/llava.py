"""LLaVA-1.5: one square of tokens per image, plain 2-D positions, a prompt without turn tokens.

Its vision tower is CLIP's, whose class token is left out of the features (``default``). Its chat template
is Vicuna's, plain words: "USER: …" up to "ASSISTANT:". There is no video, and no image is tiled: the
processor of the ``-hf`` checkpoints cuts out the middle square. (LLaVA's own code pads to a square instead;
``preprocessing.pad_to_square`` does that.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family, VisualItem
from hawk.models.turns import Markers, chatml_markers

TOWERS = ("clip_vision_model", "siglip_vision_model")

# What opens a user's turn and what ends it, by how a checkpoint's language model was taught to talk.
LLAMA3 = ("<|start_header_id|>user<|end_header_id|>", "<|eot_id|>")
MISTRAL = ("[INST]", "[/INST]")
VICUNA = ("USER:", "ASSISTANT:")


class Llava(Family):
    """``LlavaForConditionalGeneration`` with a tower of CLIP or SigLIP."""

    name = "llava"
    takes_video = False

    def placeholders(self, config: Any) -> dict[str, int]:
        return {"image": config.image_token_id}

    def check_config(self, config: Any) -> None:
        grid_side(config)

    def encode(self, model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, list[VisualItem]]:
        output = (inputs.get("mm_encoder_outputs") or {}).get("image")
        if output is None and inputs.get("pixel_values") is None:
            return {}
        side = grid_side(model.config)
        if output is None:
            output = model.model.get_image_features(inputs["pixel_values"], return_dict=True)
        flat = torch.cat(list(output.pooler_output))
        if len(flat) % side**2:
            raise InputError(f"{len(flat)} visual tokens are no whole number of images of {side} x {side}.")
        return {"image": [VisualItem(features, (1, side, side)) for features in flat.split(side**2)]}

    def place_observed(
        self, model: nn.Module, inputs: Mapping[str, Any], seen: Sequence[Tensor]
    ) -> list[Tensor]:
        return [values.flatten(0, 1) for values in seen]  # [images, patches, ...]

    def visible(self, processor: Any, size: tuple[int, int]) -> tuple[int, int, int, int]:
        height, width = size
        if not getattr(processor.image_processor, "do_center_crop", False):
            return super().visible(processor, size)
        side = min(size)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side

    def markers(self, tokenizer: Any, config: Any) -> Markers:
        return turn_markers(tokenizer, config)


def grid_side(config: Any) -> int:
    """Visual tokens along one side of one view.

    Raises InputError for a tower whose tokens are no such square.
    """
    vision = config.vision_config
    if vision.model_type not in TOWERS:
        raise InputError(
            f"the model's vision tower is a {vision.model_type!r}; of {config.model_type!r} models hawk "
            f"knows those with {' or '.join(TOWERS)}."
        )
    if vision.model_type == "clip_vision_model" and config.vision_feature_select_strategy != "default":
        raise InputError(
            "vision_feature_select_strategy is 'full': CLIP's class token is no part of the image; "
            "hawk knows 'default'."
        )
    return vision.image_size // vision.patch_size


def turn_markers(tokenizer: Any, config: Any) -> Markers:
    """Where a user's turn begins and ends, in the style of the checkpoint's language model."""
    known = tokenizer.get_vocab()
    if "<|im_end|>" in known:
        return chatml_markers(tokenizer)
    if LLAMA3[1] in known:
        style = LLAMA3
    elif config.text_config.model_type == "mistral":
        style = MISTRAL
    else:
        style = VICUNA
    user, end = (tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in style)
    return Markers(user, end)
