"""Qwen3-VL: as Qwen2.5-VL, with visual embeddings for the first decoder layers too.

The vision tower returns one further embedding of every visual token per level of its deep stack;
the language model adds level i after decoder layer i. They are pruned together with the tokens.
Queries and keys are normalized, which the token score takes over (``ScoringLayer.q_norm``).
A video's frames stand apart in the prompt, with their times as text between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from hawk.models.qwen2_5_vl import Qwen2_5VL


class Qwen3VL(Qwen2_5VL):
    """``Qwen3VLForConditionalGeneration``."""

    name = "qwen3_vl"

    def per_item(self, output: Any, sizes: Tensor) -> tuple[Sequence[Tensor], list[Sequence[Tensor]]]:
        features, _ = super().per_item(output, sizes)
        levels = [torch.cat(list(level)).split(sizes.tolist()) for level in output.deepstack_features]
        return features, levels

    def video_text(self, processor: Any, clip: Any) -> tuple[str, int]:
        """Frames are merged in twos, and the time of a pair is the mean of its first and last."""
        merged = processor.video_processor.temporal_patch_size
        indices = list(clip.indices)
        indices += [indices[-1]] * (-len(indices) % merged)
        pairs = [(indices[i], indices[i + merged - 1]) for i in range(0, len(indices), merged)]
        frame = f"{processor.vision_start_token}{processor.video_token}{processor.vision_end_token}"
        times = [(first / clip.fps + last / clip.fps) / 2 for first, last in pairs]
        return "".join(f"<{time:.1f} seconds>{frame}" for time in times), len(pairs)

    def encoder_outputs(
        self, features: Mapping[str, Tensor], levels: Mapping[str, Sequence[Tensor]]
    ) -> dict[str, Any]:
        return {
            modality: BaseModelOutputWithDeepstackFeatures(
                pooler_output=list(values.split(1)),
                deepstack_features=[list(level.split(1)) for level in levels[modality]],
            )
            for modality, values in features.items()
            if len(values)
        }
