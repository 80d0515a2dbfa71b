"""Runs ``hawk`` with VLMEvalKit's Qwen class, which asks for a GPU and FlashAttention, on a CPU.

python on_cpu.py MODEL_FOLDER HAWK_ARGS…: the folder's model is in VLMEvalKit's table as "Tiny".
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import transformers
import vlmeval.config
import vlmeval.vlm.qwen2_vl.model as kit
from transformers import BatchFeature, Qwen2_5_VLForConditionalGeneration

moved = BatchFeature.to
loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained


def on_cpu(self: BatchFeature, *where: Any, **options: Any) -> BatchFeature:
    return moved(self, *("cpu" if place == "cuda" else place for place in where), **options)


def from_pretrained(path: str, **options: Any) -> Any:
    return loaded(path, **{**options, "attn_implementation": "sdpa", "device_map": "cpu"})


if __name__ == "__main__":
    kit.get_gpu_memory = lambda: [1]
    BatchFeature.to = on_cpu
    transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained = from_pretrained
    vlmeval.config.supported_VLM["Tiny"] = partial(
        kit.Qwen2VLChat, model_path=sys.argv[1], use_custom_prompt=False, do_sample=False, max_new_tokens=16
    )
    from hawk.cli.main import cli

    sys.argv = ["hawk", *sys.argv[2:]]
    cli()
