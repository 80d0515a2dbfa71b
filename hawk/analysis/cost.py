"""Measured cost as a table: speed-ups are ratios to the unpruned model of the same run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hawk.core.errors import InputError

UNPRUNED = "unpruned"

# The columns of ``cost_table``, in the order of the CSV file.
COLUMNS = (
    "variant", "pruning_ratio", "total_ms", "speedup", "speedup_low", "speedup_high", "is_noise",
    "vision_ms", "token_score_ms", "prefill_ms",
    "prefill_speedup", "decode_ms_per_token", "kv_cache_mb", "kv_cache_share", "ideal_share",
    "peak_memory_mb", "kept_tokens", "repeats",
)  # fmt: skip


def conditions(provenance: Mapping[str, Any]) -> str:
    """On what, and how, cost was measured."""
    settings, versions = provenance["settings"], provenance["environment"]["libraries"]
    cost, threads = settings["cost"], settings["threads"]
    return (
        f"{settings['model']['id']} in {settings['model']['dtype']} on {settings['device']}, "
        f"{threads} thread{'s' if threads != 1 else ''}, torch {versions['torch']}, transformers "
        f"{versions['transformers']}: {settings['samples']} samples of "
        f"{provenance['identity']['benchmark']}, one at a time, always {cost['max_new_tokens']} new tokens, "
        f"{cost['repeats']} repeats after "
        f"{cost['warmup']} of warm-up."
    )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The interval between two of the sorted values that holds the true median in at least 95 % of cases.

    Whatever the distribution, the number of values below the median is binomial with p = 1/2 (David and
    Nagaraja, Order Statistics, 7.1). Fewer than 6 values reach no 95 %; theirs is the whole range.
    """
    ordered, size = sorted(values), len(values)
    outside, left = 0, 0  # samples of coins, of 2 ** size, with at most ``left`` heads
    while left < size // 2 and 2 * (outside + math.comb(size, left)) <= 0.05 * 2**size:
        outside += math.comb(size, left)
        left += 1
    left = max(left - 1, 0)
    return ordered[left], ordered[size - 1 - left]


def cost_table(cost: pd.DataFrame) -> pd.DataFrame:
    """One row per variant and ratio: medians over repeats, beside the unpruned model's.

    ``speedup`` and ``prefill_speedup`` are medians of ratios within a repeat, in which both ran in
    turn; ``speedup_low`` and ``speedup_high`` are ``median_interval`` of these ratios, and ``is_noise`` says
    that it contains 1; ``kv_cache_share`` and ``ideal_share`` are percent of the unpruned cache and prompt.
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
        ratios = (plain["total_ms"] / pruned["total_ms"]).dropna()
        low, high = median_interval(ratios.tolist())
        rows.append(
            {
                "variant": variant,
                "pruning_ratio": ratio,
                "total_ms": median["total_ms"],
                "speedup": ratios.median(),
                "speedup_low": low,
                "speedup_high": high,
                "is_noise": low <= 1.0 <= high,
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
    return pd.DataFrame(rows)[list(COLUMNS)]
