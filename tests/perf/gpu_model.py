"""A model of Qwen2.5-VL-7B's real geometry with random weights, made on the device, and prompts for it.

Words are those of the tokenizer that ships with the embedded model, so nothing is downloaded; the
vocabulary's size is the real one. Random weights say nothing about accuracy, and time does not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from hawk.benchmarks import benchmark
from hawk.inference.prompts import Prompts
from hawk.models import family_of
from hawk.models.base import VisionLanguageModel, VisualItem
from hawk.models.turns import remember_markers

WORDS = Path(__file__).resolve().parents[2] / "data" / "models" / "tiny-qwen2.5-vl"
TEXT = 64  # text tokens of a prompt


@dataclass(frozen=True)
class Geometry:
    """Shapes of a model, and the sides in visual tokens of its ordinary and its large picture."""

    name: str
    text: dict[str, Any]
    vision: dict[str, Any]
    side: int
    large: int
    batch: int
    dtype: str


FULL = Geometry(
    "Qwen2.5-VL-7B",
    {
        "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128_000,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    {
        "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2,
    },
    side=36, large=72, batch=16, dtype="bfloat16",  # pictures of 1008 and of 2016 pixels a side
)  # fmt: skip
SMALL = Geometry(
    "small",
    {
        "vocab_size": 128, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    },
    {
        "depth": 2, "hidden_size": 64, "num_heads": 2, "intermediate_size": 128, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "out_hidden_size": 256,
        "fullatt_block_indexes": [1], "tokens_per_second": 2,
    },
    side=6, large=12, batch=4, dtype="float32",
)  # fmt: skip


def build(geometry: Geometry, device: str) -> VisionLanguageModel:
    """The model on ``device``, initialised there as transformers does it for training."""
    from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(WORDS)
    tokenizer.padding_side = "left"
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    special = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{word}|>")
        for name, word in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    config = Qwen2_5_VLConfig(
        text_config={**geometry.text, **ids, "bos_token_id": None}, vision_config=geometry.vision, **special
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(
            config, dtype=getattr(torch, geometry.dtype), attn_implementation="sdpa"
        )
    model.eval().requires_grad_(False)
    family = family_of(model)
    remember_markers(model, family.markers(tokenizer, config))
    processor = SimpleNamespace(tokenizer=tokenizer, apply_chat_template=as_text(tokenizer))
    source = {"id": geometry.name, "revision": None, "dtype": geometry.dtype, "attention": "sdpa"}
    return VisionLanguageModel(model, processor, family, source)


def as_text(tokenizer: Any) -> Any:
    def apply(messages: Any, **options: Any) -> str:
        return tokenizer.apply_chat_template(messages, **options)

    return apply


def inputs_of(
    vlm: VisionLanguageModel, pictures: Sequence[Sequence[int]], encoded: bool = False
) -> dict[str, Any]:
    """A batch as a processor gives it: row by row the sides of its pictures, in visual tokens.

    encoded: with the pictures' features in place of their pixels. Rows must be of one length.
    """
    model, tokenizer = vlm.model, vlm.processor.tokenizer
    device, dtype = model.device, model.dtype
    config = model.config
    before = tokenizer("<|im_start|>user\n", add_special_tokens=False)["input_ids"]
    after = tokenizer("<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    word = tokenizer("digit", add_special_tokens=False)["input_ids"][-1]
    rows = []
    for sides in pictures:
        row = list(before)
        for side in sides:
            row += [config.vision_start_token_id, *[config.image_token_id] * side**2]
            row += [config.vision_end_token_id, word]
        text = len(row) - sum(side**2 for side in sides)
        rows.append([*row, *[word] * max(1, TEXT - text - len(after)), *after])
    if len({*map(len, rows)}) != 1:
        raise ValueError(f"rows of different lengths: {sorted({*map(len, rows)})}")
    every = [side for sides in pictures for side in sides]
    grid = torch.tensor([[1, 2 * side, 2 * side] for side in every], device=device)
    ids = torch.tensor(rows, device=device)
    types = (ids == config.image_token_id).long()
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "image_grid_thw": grid}
    tokens = sum(side**2 for side in every)
    if encoded:
        features = torch.randn(tokens, config.text_config.hidden_size, device=device, dtype=dtype)
        return {
            **inputs,
            "mm_encoder_outputs": vlm.family.encoder_outputs({"image": features}, {"image": []}),
        }
    vision = config.vision_config
    width = 3 * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.randn(4 * tokens, width, device=device, dtype=dtype)
    return {**inputs, "pixel_values": pixels, "mm_token_type_ids": types}


class RandomFeatures:
    """Every picture as ``side`` × ``side`` random visual tokens: its features take no memory but once."""

    def __init__(self, vlm: VisionLanguageModel, side: int) -> None:
        width = vlm.model.config.text_config.hidden_size
        features = torch.randn(side**2, width, device=vlm.model.device, dtype=vlm.model.dtype)
        self.item = VisualItem(features, (1, side, side), meta={"grid_thw": [1, 2 * side, 2 * side]})

    def __getitem__(self, key: str) -> VisualItem:
        return self.item

    outline = __getitem__


def prompts_of(vlm: VisionLanguageModel, side: int, samples: int) -> Prompts:
    """Questions of the shipped benchmark ``digits``, made as long as a real one, on random pictures."""
    bench = benchmark("digits", None)
    drawn = [sample for sample, _ in zip(bench.load(), range(samples))]
    longer = [
        replace(sample, question=" ".join([sample.question] * (TEXT // 6)), references=["3"])
        for sample in drawn
    ]
    return Prompts(vlm, bench, longer, RandomFeatures(vlm, side), "vlmevalkit")
