"""Models whose attention hawk cannot prune or measure, and why, in words."""

from __future__ import annotations

from typing import Any

from hawk.core.errors import InputError

# config.model_type → why it is no family.
REASONS = {
    "qwen3_5": "their first layers are linear attention and have no heads; the first full one is layer 3",
    "gemma3": "their layers attend in sliding windows, in which a pruned prompt would see further back",
    "gemma4": "their layers attend in sliding windows, in which a pruned prompt would see further back",
}


def check_attention(config: Any) -> None:
    """Refuse a language model with linear attention in some layer, or with sliding windows.

    A window counts cache entries and not positions: with tokens removed it reaches further back than the
    unpruned model's, so a pruned run is not that model with tokens masked. And its cache forgets what a
    reference's log-probability starts from.
    """
    text = getattr(config, "text_config", config)
    kinds = set(getattr(text, "layer_types", None) or ())
    window = getattr(text, "sliding_window", None)
    name = f"{config.model_type!r} model"
    if "linear_attention" in kinds:
        raise InputError(
            f"{name}: some layers of its language model are linear attention, which has no heads. Allowed: "
            "full attention in every layer."
        )
    if window is not None and (not kinds or "sliding_attention" in kinds):
        raise InputError(
            f"{name}: its language model attends in sliding windows of {window} tokens, in which a pruned "
            "prompt would see further back. Allowed: full attention in every layer (sliding_window: null)."
        )


def why_refused(model_type: str) -> str | None:
    """The reason for a known model type, its variants (``qwen3_5_moe``) included; None for any other."""
    return next((why for name, why in REASONS.items() if model_type.startswith(name)), None)
