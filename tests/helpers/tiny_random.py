"""Random tiny models of every family, made so that what is kept changes what is said.

On default initialisation pruning tests pass with any tokens kept: every prompt gets the same answer.
Here weights are enlarged until swapping kept tokens moves logits and greedy tokens;
``tests/pruning/test_oracles.py`` asserts that first. The prompts for them are in ``tiny_prompts.py``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from hawk.models.turns import Markers, remember_markers

HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB = 64, 3, 4, 2, 96
START, USER, NEWLINE, END, PAD, VISION_START, VISION_END, IMAGE, VIDEO = range(9)

TEXT: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": 96,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
QWEN_IDS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO,
    "vision_start_token_id": VISION_START, "vision_end_token_id": VISION_END,
}  # fmt: skip
# The head is small, so that logits are about 1 and float32 leaves room below the tolerance of 1e-5.
SCALES = {"embed_tokens": 1.0, "image_newline": 1.0, "lm_head": 0.06}


def enlarge(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights whose outputs depend strongly on the inputs, deterministic in ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator)
            known = [scale for part, scale in SCALES.items() if part in name]
            if known:
                parameter.copy_(known[0] * values)
            elif "bias" in name:
                parameter.copy_(0.3 * values)
            elif parameter.ndim >= 2:
                parameter.copy_(1.6 * values / parameter[0].numel() ** 0.5)
    return model.eval().requires_grad_(False)


def build(cls: type, config: Any, attention: str, seed: int) -> torch.nn.Module:
    for part in (config, config.text_config, config.vision_config):
        part._attn_implementation = attention
    torch.manual_seed(seed)
    model = enlarge(cls(config), seed)
    markers = Markers((START, USER), (END,), frozenset({VISION_START, VISION_END}), newline=NEWLINE)
    remember_markers(model, markers)
    return model


@cache
def qwen2_5_vl(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "patch_size": 4,
        "spatial_merge_size": 2, "out_hidden_size": HIDDEN, "window_size": 32,
        "fullatt_block_indexes": [0], "temporal_patch_size": 2, "in_channels": 3,
    }  # fmt: skip
    text = {**TEXT, "rope_parameters": MROPE}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **QWEN_IDS)
    return build(Qwen2_5_VLForConditionalGeneration, config, attention, seed)


@cache
def qwen2_vl(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {
        "depth": 1, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4,
        "spatial_merge_size": 2, "hidden_size": HIDDEN, "temporal_patch_size": 2, "in_channels": 3,
    }  # fmt: skip
    text = {**TEXT, "rope_parameters": MROPE}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, **QWEN_IDS)
    return build(Qwen2VLForConditionalGeneration, config, attention, seed)


@cache
def qwen3_vl(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {
        "depth": 3, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "patch_size": 4,
        "spatial_merge_size": 2, "out_hidden_size": HIDDEN, "temporal_patch_size": 2,
        "in_channels": 3, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    # head_dim is its own setting: 4 heads of 24 make 96, not the hidden size of 64.
    rope = {**MROPE, "mrope_section": [4, 4, 4], "mrope_interleaved": True}
    text = {**TEXT, "rope_parameters": rope, "head_dim": 24}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **QWEN_IDS)
    return build(Qwen3VLForConditionalGeneration, config, attention, seed)


@cache
def internvl(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    vision = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 48, "image_size": [32, 32], "patch_size": [4, 4],
    }  # fmt: skip
    config = InternVLConfig(
        text_config={**TEXT, "model_type": "qwen2"},
        vision_config=vision,
        image_token_id=IMAGE,
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    return build(InternVLForConditionalGeneration, config, attention, seed)


def internvl3_5() -> torch.nn.Module:
    """InternVL's class with Qwen3's language model."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    vision = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 48, "image_size": [32, 32], "patch_size": [4, 4],
    }  # fmt: skip
    config = InternVLConfig(
        text_config={**TEXT, "model_type": "qwen3", "head_dim": 24},
        vision_config=vision,
        image_token_id=IMAGE,
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    return build(InternVLForConditionalGeneration, config, "sdpa", 0)


@cache
def llava_onevision(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 48, "image_size": 16, "patch_size": 4,
        "vision_use_head": False,
    }  # fmt: skip
    config = LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "qwen2"},
        vision_config=vision,
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[16 * h, 16 * w] for h in (1, 2, 3) for w in (1, 2, 3)],
    )
    return build(LlavaOnevisionForConditionalGeneration, config, attention, seed)


def _idefics3_like(prefix: str, attention: str, seed: int) -> torch.nn.Module:
    import transformers

    vision = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48,
        "image_size": 16, "patch_size": 4,
    }  # fmt: skip
    config = getattr(transformers, f"{prefix}Config")(
        text_config={**TEXT, "model_type": "llama"},
        vision_config=vision,
        image_token_id=IMAGE,
        scale_factor=2,
        tie_word_embeddings=False,
        pad_token_id=PAD,
    )
    return build(getattr(transformers, f"{prefix}ForConditionalGeneration"), config, attention, seed)


@cache
def idefics3(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    return _idefics3_like("Idefics3", attention, seed)


@cache
def smolvlm(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    return _idefics3_like("SmolVLM", attention, seed)


CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 48, "image_size": 16, "patch_size": 4,
}  # fmt: skip


@cache
def llava(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    text = {**TEXT, "model_type": "llama"}
    config = LlavaConfig(text_config=text, vision_config=CLIP, image_token_index=IMAGE, image_seq_length=16)
    return build(LlavaForConditionalGeneration, config, attention, seed)


@cache
def llava_next(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

    config = LlavaNextConfig(
        text_config={**TEXT, "model_type": "mistral", "sliding_window": None},
        vision_config=CLIP,
        image_token_index=IMAGE,
        image_seq_length=16,
        image_grid_pinpoints=[[16 * h, 16 * w] for h in (1, 2, 3) for w in (1, 2, 3)],
    )
    return build(LlavaNextForConditionalGeneration, config, attention, seed)


MODELS = {
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "llava": llava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
}
