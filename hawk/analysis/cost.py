"""Measured cost as a table: speed-ups are ratios to the unpruned model of the same run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from hawk.core.errors import InputError
from hawk.core.schemas import described

UNPRUNED = "unpruned"

# The columns of tables/cost (``cost_table``), and what each holds.
COST_TABLE, COST_MEANINGS = described(
    [
        ("variant", pa.string(), "The variant's name."),
        ("pruning_ratio", pa.string(), "Fraction of visual tokens removed, as an exact decimal."),
        ("total_ms", pa.float64(), "The whole of it."),
        (
            "speedup",
            pa.float64(),
            "The unpruned model's time divided by the variant's in the same repeat, the median over repeats.",
        ),
        (
            "speedup_low",
            pa.float64(),
            "Lower end of the median's 95 % interval; with fewer than 6 repeats the lowest ratio.",
        ),
        ("speedup_high", pa.float64(), "Upper end of it; with fewer than 6 repeats the highest ratio."),
        ("is_noise", pa.bool_(), "Whether the interval of the speed-up contains 1."),
        ("vision_ms", pa.float64(), "Time in the vision tower, in milliseconds."),
        ("token_score_ms", pa.float64(), "Time for scoring and choosing tokens."),
        ("prefill_ms", pa.float64(), "Time for reading the prompt."),
        (
            "prefill_speedup",
            pa.float64(),
            "Median speed-up of reading the prompt; scoring and choosing tokens count.",
        ),
        ("decode_ms_per_token", pa.float64(), "Time per new token."),
        (
            "kv_cache_mb",
            pa.float64(),
            "Size of the key-value cache after the prompt, in megabytes (10^6 bytes).",
        ),
        ("kv_cache_share", pa.float64(), "Percent of the unpruned model's key-value cache."),
        (
            "ideal_share",
            pa.float64(),
            "Percent of the prompt's tokens that are left: the cache's share if all layers keep the same.",
        ),
        ("peak_memory_mb", pa.float64(), "Highest memory in use on the device, in megabytes."),
        ("kept_tokens", pa.int64(), "Visual tokens after pruning."),
        ("repeats", pa.int64(), "Number of repeats."),
    ]
)


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
    return pd.DataFrame(rows)[COST_TABLE.names]
