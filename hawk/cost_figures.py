"""Measured cost as a table like the paper's, and as the curve a user chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawk.cost import UNPRUNED
from hawk.errors import InputError
from hawk.figures import new_figure, save, sequence, style
from hawk.paths import RunPaths
from hawk.records import COST, provenance_of, read_table, write_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def write_cost(root: str, only: str | None = None) -> list[str]:
    """``tables/cost.{csv,md}`` and, where retention is known, ``figures/speedup``; or one of the two."""
    paths = RunPaths(root)
    found = read_table(paths.cost(), COST, {"table": "cost"})
    table, made = cost_table(found.to_pandas()), provenance_of(found, paths.cost())
    written = []
    if only != "figure":
        written += [paths.table("cost", "csv"), paths.table("cost", "md")]
        write_text(written[0], table.to_csv(index=False))
        write_text(written[1], f"{markdown(table)}\n{conditions(made)}\n")
    retention_path = paths.table("retention", "parquet")
    if only != "table" and Path(retention_path).is_file():
        import pandas as pd

        with style():
            figure = speedup_figure(table, pd.read_parquet(retention_path))
            written += save(figure, paths, "speedup")
    elif only == "figure":
        raise InputError(f"{retention_path}: there is no such file; the figure needs retention.")
    return written


def conditions(made: Mapping[str, Any]) -> str:
    """On what, and how, cost was measured."""
    settings, versions = made["settings"], made["environment"]["libraries"]
    cost = settings["cost"]
    return (
        f"{settings['model']['id']} in {settings['model']['dtype']} on {settings['device']}, "
        f"{settings['threads']} thread(s), torch {versions['torch']}, transformers "
        f"{versions['transformers']}: {settings['samples']} samples of {made['identity']['benchmark']}, one "
        f"at a time, always {cost['max_new_tokens']} new tokens, {cost['repeats']} repeats after "
        f"{cost['warmup']} of warm-up."
    )


def cost_table(cost: pd.DataFrame) -> pd.DataFrame:
    """One row per variant and ratio: medians over repeats, beside the unpruned model's.

    ``speedup`` and ``prefill_speedup`` are medians of ratios within a repeat, in which both ran in
    turn; ``kv_cache_share`` and ``ideal_share`` are percent of the unpruned cache and prompt.
    """
    import pandas as pd

    plain = cost[cost["variant"] == UNPRUNED].set_index("repeat")
    if plain.empty:
        raise InputError("the cost table has no rows of the unpruned model to compare with.")
    rows = []
    for (variant, ratio), part in cost.groupby(["variant", "pruning_ratio"], sort=False):
        own = part.set_index("repeat")
        median = own.median(numeric_only=True)
        visual = plain["kept_tokens"].median()
        prompt = plain["prompt_tokens"].median()
        before = plain["prefill_ms"] + plain["token_score_ms"]
        rows.append(
            {
                "variant": variant,
                "pruning_ratio": ratio,
                "total_ms": median["total_ms"],
                "speedup": (plain["total_ms"] / own["total_ms"]).median(),
                "vision_ms": median["vision_ms"],
                "token_score_ms": median["token_score_ms"],
                "prefill_ms": median["prefill_ms"],
                "prefill_speedup": (before / (own["prefill_ms"] + own["token_score_ms"])).median(),
                "decode_ms_per_token": median["decode_ms_per_token"],
                "kv_cache_mb": median["kv_cache_bytes"] / 1e6,
                "kv_cache_share": 100 * median["kv_cache_bytes"] / plain["kv_cache_bytes"].median(),
                "ideal_share": 100 * (prompt - visual + median["kept_tokens"]) / prompt,
                "peak_memory_mb": median["peak_memory_bytes"] / 1e6,
                "kept_tokens": round(median["kept_tokens"]),
                "repeats": len(own),
            }
        )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The paper's columns (latency, KV cache, memory) and where the time goes."""
    head = [
        "variant", "removed", "kept tokens", "latency, ms", "speed-up", "vision, ms",
        "token score, ms", "prefill, ms", "prefill speed-up", "decode, ms per token",
        "KV cache, MB", "KV cache, %", "peak memory, MB",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in table.itertuples():
        cells = [
            row.variant, row.pruning_ratio, str(row.kept_tokens), f"{row.total_ms:.1f}",
            f"×{row.speedup:.2f}", f"{row.vision_ms:.1f}", f"{row.token_score_ms:.2f}",
            f"{row.prefill_ms:.1f}", f"×{row.prefill_speedup:.2f}",
            f"{row.decode_ms_per_token:.2f}", f"{row.kv_cache_mb:.2f}",
            f"{row.kv_cache_share:.1f}", f"{row.peak_memory_mb:.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(
        [*lines, "", "Medians over repeats; speed-ups against the unpruned model in between.", ""]
    )


def speedup_figure(table: pd.DataFrame, retention: pd.DataFrame) -> Figure:
    """Retention over all benchmarks against measured end-to-end speed-up.

    A line per variant, from the lowest ratio to the highest; where each stands is written beside it.
    """
    overall = retention[retention["benchmark"] == "overall"]
    merged = table.merge(overall, on=["variant", "pruning_ratio"], suffixes=("", "_scored"))
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    axes.axhline(100, color="0.7", linewidth=0.8, zorder=0)
    axes.plot([1], [100], marker="*", color="black", markersize=9, linestyle="none")
    axes.annotate("unpruned", (1, 100), textcoords="offset points", xytext=(5, 4), fontsize=8)
    looks = sequence([str(name) for name in dict.fromkeys(merged["variant"])])
    for variant, part in merged.groupby("variant", sort=False):
        color, marker = looks.get(str(variant), ("0.5", "x"))
        part = part.sort_values("pruning_ratio", key=lambda ratios: ratios.astype(float))
        axes.errorbar(
            part["speedup"],
            part["retention"],
            yerr=[part["retention"] - part["ci_low"], part["ci_high"] - part["retention"]],
            color=color,
            marker=marker,
            markersize=4.5,
            linewidth=1.2,
            elinewidth=0.7,
            label=str(variant),
        )
        for row in part.itertuples():
            axes.annotate(
                f"{100 * float(row.pruning_ratio):.3g}",
                (row.speedup, row.retention),
                textcoords="offset points",
                xytext=(4, 3),
                fontsize=6.5,
                color=color,
            )
    axes.set(xlabel="measured speed-up (numbers: % of tokens removed)", ylabel="retention, % of unpruned")
    figure.legend(loc="outside right center", fontsize=8)
    return figure
