"""Tiny models of two real architecture classes, with processors.

64x64 pixels become 64 visual tokens of 8x8 pixels. Four decoder layers have 8 query heads on 4
key-value heads, so that grouped-query attention is exercised too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from hawk.benchmarks.toy.scenes import IMAGE_SIZE
from hawk.training import tokenizer as tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


FAMILIES = ("qwen2_5_vl", "internvl")
PATCH, MERGE = 4, 2
GRID = IMAGE_SIZE // (PATCH * MERGE)
VISUAL_TOKENS = GRID * GRID
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}
VISION_LAYERS, VISION_HIDDEN, VISION_HEADS, VISION_MLP = 3, 96, 4, 256


@dataclass
class TinyModel:
    """A model, its processor, and what training needs to know about the family."""

    family: str
    model: PreTrainedModel
    processor: ProcessorMixin

    def preprocess(self, images: list) -> dict[str, torch.Tensor]:
        """Images `[64, 64, 3]` to the keyword arguments of the vision tower."""
        return dict(self.processor.image_processor(images, return_tensors="pt"))

    def visual_tokens(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features `[images, 64, hidden]` as the language model gets them, row by row."""
        inputs = {k: v for k, v in inputs.items() if k in ("pixel_values", "image_grid_thw")}
        features = self.model.get_image_features(**inputs, return_dict=True).pooler_output
        return features if isinstance(features, torch.Tensor) else torch.stack(list(features))

    def prompt(self, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        message = {"role": "user", "content": content}
        return self.processor.apply_chat_template([message], add_generation_prompt=True)


def build(family: str) -> TinyModel:
    """An untrained model; weights come from torch's global generator."""
    if family == "qwen2_5_vl":
        return _build_qwen()
    if family == "internvl":
        return _build_internvl()
    raise ValueError(f"family {family!r} has no tiny model; allowed: {', '.join(FAMILIES)}")


def _special_ids(tokenizer) -> dict[str, int]:
    """For the text config, so that `generate` pads and stops without being told."""
    end = tokenizer.eos_token_id
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": end,
        "bos_token_id": None,
    }


def _build_qwen() -> TinyModel:
    names = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    tokenizer = tokens.build_tokenizer(tokens.QWEN_SPECIAL, names)
    pixels = IMAGE_SIZE * IMAGE_SIZE
    geometry = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": 2}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**geometry, size={"shortest_edge": pixels, "longest_edge": pixels}),
        tokenizer,
        Qwen2VLVideoProcessor(**geometry, size={"shortest_edge": pixels, "longest_edge": 16 * pixels}),
        chat_template=tokens.QWEN_TEMPLATE,
    )
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config=dict(
            **TEXT,
            **_special_ids(tokenizer),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 3, 3],
            },
        ),
        vision_config={
            "depth": VISION_LAYERS,
            "hidden_size": VISION_HIDDEN,
            "out_hidden_size": TEXT["hidden_size"],
            "intermediate_size": VISION_MLP,
            "num_heads": VISION_HEADS,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": IMAGE_SIZE,
            "fullatt_block_indexes": list(range(VISION_LAYERS)),
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return TinyModel("qwen2_5_vl", Qwen2_5_VLForConditionalGeneration(config), processor)


def _build_internvl() -> TinyModel:
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = tokens.build_tokenizer(tokens.INTERNVL_SPECIAL, names)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer,
        InternVLVideoProcessor(size=size),
        image_seq_length=VISUAL_TOKENS,
        chat_template=tokens.INTERNVL_TEMPLATE,
    )
    config = InternVLConfig(
        text_config=dict(
            model_type="qwen2",
            **TEXT,
            **_special_ids(tokenizer),
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        ),
        vision_config={
            "hidden_size": VISION_HIDDEN,
            "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": VISION_HEADS,
            "intermediate_size": VISION_MLP,
            "attention_bias": True,
            "image_size": [IMAGE_SIZE, IMAGE_SIZE],
            "patch_size": [PATCH, PATCH],
            "layer_scale_init_value": 1.0,  # 0.1, the default, is for deeper towers
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=VISUAL_TOKENS,
        downsample_ratio=1 / MERGE,
        tie_word_embeddings=True,
    )
    return TinyModel("internvl", InternVLForConditionalGeneration(config), processor)
