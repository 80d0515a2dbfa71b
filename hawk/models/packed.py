"""Attention of vision towers that pack windows and images into one sequence, by torch's own kernel.

With sdpa transformers calls attention once per window, from Python: 81 times in most layers of Qwen2.5-VL's
tower for a picture of 1008 x 1008 pixels, and as often again for every further picture of a batch. On a GPU
that takes several times as long as the rest of the tower (docs/gpu.md). A flash attention is handed all
windows at once; torch brings one, which needs no package beside it.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family

NAME = "varlen"
# transformers hands the lengths of the windows to attentions that have "flash" in their name.
REGISTERED = "torch_flash_varlen"


def check(family: Family, dtype: str, device: str) -> None:
    """Raise InputError where ``attention: varlen`` cannot be."""
    if not family.packs_vision:
        raise InputError(f"attention {NAME!r} is for Qwen's vision towers; {family.name!r} is to use sdpa.")
    if not device.startswith("cuda") or dtype == "float32":
        raise InputError(
            f"attention {NAME!r} computes on a CUDA device in bfloat16 or float16; this model is on "
            f"{device!r} in {dtype!r}. Use sdpa."
        )
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        raise InputError(f"attention {NAME!r} needs torch 2.10 or newer, not {torch.__version__}. Use sdpa.")


def use(model: nn.Module) -> None:
    """Let the vision tower of ``model`` attend so; its language model stays as it is."""
    from transformers import AttentionInterface  # with all of transformers' modeling code

    AttentionInterface.register(REGISTERED, attend)
    model.set_attn_implementation({"vision_config": REGISTERED})


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **others: Any,
) -> tuple[Tensor, None]:
    """query, key, value [1, heads, T, d], attention within each run of [0, T) that ``cu_seq_lens_q`` bounds
    → [1, T, heads, d]."""
    from torch.nn.attention.varlen import varlen_attn

    lengths, longest = (cu_seq_lens_q,) * 2, (max_length_q,) * 2
    packed = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
    out = varlen_attn(*packed, *lengths, *longest, scale=scaling)
    return out[None], None
