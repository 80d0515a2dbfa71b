"""Qwen2-VL: as Qwen2.5-VL for everything that pruning touches.

Its temporal positions count frames and know no seconds; ``get_rope_index`` ignores the argument.
"""

from __future__ import annotations

from hawk.models.qwen2_5_vl import Qwen2_5VL


class Qwen2VL(Qwen2_5VL):
    """``Qwen2VLForConditionalGeneration``."""

    name = "qwen2_vl"
