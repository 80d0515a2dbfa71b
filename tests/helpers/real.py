"""Qwen2.5-VL as published: vocabulary, processor and layer shapes; weights are random.

The vocabulary is the one in the PyPI package ``dashscope`` (for tests only). Random weights say
nothing about accuracy.
"""

from __future__ import annotations

import base64
from functools import cache
from importlib.resources import files
from typing import Any

import torch

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>",
    "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
FIRST_SPECIAL = 151_643

# The published template without tools: a system turn unless one is given.
TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' -%}{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- else -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

TEXT_7B: dict[str, Any] = {
    "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944,
    "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128_000,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    "rms_norm_eps": 1e-6, "pad_token_id": 151_643, "eos_token_id": 151_645, "bos_token_id": None,
}  # fmt: skip
VISION_7B: dict[str, Any] = {
    "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
    "out_hidden_size": 3584, "tokens_per_second": 2,
}  # fmt: skip


def merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pair that each token of more than one byte was made of: BPE with lower ranks only."""
    found = []
    for token, rank in sorted(ranks.items(), key=lambda entry: entry[1]):
        if len(token) == 1:
            continue
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            pairs = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
            lowest, i = min(pairs)
            if lowest >= rank:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        assert len(parts) == 2
        found.append((parts[0], parts[1]))
    return found


@cache
def tokenizer() -> Any:
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    lines = files("dashscope").joinpath("resources/qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(a): int(b) for a, b in (line.split() for line in lines if line)}
    letters = bytes_to_unicode()

    def text(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    vocabulary = {text(token): rank for token, rank in ranks.items()}
    # All added tokens in order: left to the constructor, it would number the last one first.
    vocabulary.update({name: FIRST_SPECIAL + i for i, name in enumerate(SPECIAL)})
    made = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[(text(a), text(b)) for a, b in merges(ranks)],
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    made.add_tokens([AddedToken(name, special=name.startswith("<|"), normalized=False) for name in SPECIAL])
    made.padding_side = "left"
    return made


@cache
def processor() -> Any:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    shape = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    size = {"shortest_edge": 56 * 56, "longest_edge": 12_845_056}
    return Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**shape, size=size),
        tokenizer(),
        Qwen2VLVideoProcessor(**shape, cap_pixels_per_frame=True),
        chat_template=TEMPLATE,
    )


@cache
def model(layers: int = 1, vision_layers: int = 1) -> torch.nn.Module:
    """The 7B's shapes with fewer layers; one vision layer with windows, as most are.

    In float32: without instructions for bfloat16 a processor multiplies it many times slower, and a
    photo's 61,204 patches took most of an hour. Embeddings are tied to save 2 GB, which changes no count.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={**TEXT_7B, "num_hidden_layers": layers, "tie_word_embeddings": True},
        vision_config={**VISION_7B, "depth": vision_layers, "fullatt_block_indexes": []},
        image_token_id=151_655, video_token_id=151_656,
        vision_start_token_id=151_652, vision_end_token_id=151_653, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        made = Qwen2_5_VLForConditionalGeneration(config)
    made = made.to_empty(device="cpu")
    made.tie_weights()
    # Random numbers once, laid end to end; a prime count, so that no two rows are equal.
    noise = torch.empty(1_000_003).uniform_(-0.02, 0.02, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name or name.endswith("ln_q.weight"):
                parameter.fill_(1)
                continue
            for part in parameter.view(-1).split(len(noise)):
                part.copy_(noise[: len(part)])
    for module in made.modules():  # buffers that are computed, not stored
        if hasattr(module, "inv_freq"):
            _restore_frequencies(module)
    return made.eval().requires_grad_(False)


def _restore_frequencies(module: Any) -> None:
    if hasattr(module, "config"):
        fresh = type(module)(module.config)
    else:
        width = 2 * module.inv_freq.numel()
        fresh = type(module)(width)
    for name, buffer in fresh.named_buffers():
        module.register_buffer(name, buffer, persistent=False)
