"""Measured cost as a table: speed-ups are ratios to the unpruned model of the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hawk.core.errors import InputError

UNPRUNED = "unpruned"


def conditions(provenance: Mapping[str, Any]) -> str:
    """On what, and how, cost was measured."""
    settings, versions = provenance["settings"], provenance["environment"]["libraries"]
    cost = settings["cost"]
    return (
        f"{settings['model']['id']} in {settings['model']['dtype']} on {settings['device']}, "
        f"{settings['threads']} thread(s), torch {versions['torch']}, transformers "
        f"{versions['transformers']}: {settings['samples']} samples of "
        f"{provenance['identity']['benchmark']}, one at a time, always {cost['max_new_tokens']} new tokens, "
        f"{cost['repeats']} repeats after "
        f"{cost['warmup']} of warm-up."
    )


def cost_table(cost: pd.DataFrame) -> pd.DataFrame:
    """One row per variant and ratio: medians over repeats, beside the unpruned model's.

    ``speedup`` and ``prefill_speedup`` are medians of ratios within a repeat, in which both ran in
    turn; ``kv_cache_share`` and ``ideal_share`` are percent of the unpruned cache and prompt.
    """
    plain = cost[cost["variant"] == UNPRUNED].set_index("repeat")
    if plain.empty:
        raise InputError("the cost table has no rows of the unpruned model to compare with.")
    rows = []
    for (variant, ratio), part in cost.groupby(["variant", "pruning_ratio"], sort=False):
        pruned = part.set_index("repeat")
        median = pruned.median(numeric_only=True)
        visual = plain["kept_tokens"].median()
        prompt = plain["prompt_tokens"].median()
        before = plain["prefill_ms"] + plain["token_score_ms"]
        rows.append(
            {
                "variant": variant,
                "pruning_ratio": ratio,
                "total_ms": median["total_ms"],
                "speedup": (plain["total_ms"] / pruned["total_ms"]).median(),
                "vision_ms": median["vision_ms"],
                "token_score_ms": median["token_score_ms"],
                "prefill_ms": median["prefill_ms"],
                "prefill_speedup": (before / (pruned["prefill_ms"] + pruned["token_score_ms"])).median(),
                "decode_ms_per_token": median["decode_ms_per_token"],
                "kv_cache_mb": median["kv_cache_bytes"] / 1e6,
                "kv_cache_share": 100 * median["kv_cache_bytes"] / plain["kv_cache_bytes"].median(),
                "ideal_share": 100 * (prompt - visual + median["kept_tokens"]) / prompt,
                "peak_memory_mb": median["peak_memory_bytes"] / 1e6,
                "kept_tokens": round(median["kept_tokens"]),
                "repeats": len(pruned),
            }
        )
    return pd.DataFrame(rows)
