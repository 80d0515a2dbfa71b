"""The report's section on measured cost."""

from __future__ import annotations

from hawk.report.page import escape, table
from hawk.report.pictures import section_pictures
from hawk.report.run import Run
from hawk.report.tables import number


def cost(run: Run) -> str:
    if run.cost is None:
        return ""
    from hawk.analysis.cost import conditions, cost_table

    columns = {
        "kept_tokens": ("kept tokens", 0),
        "total_ms": ("latency, ms", 1),
        "speedup": ("speed-up", 2),
        "vision_ms": ("vision, ms", 1),
        "token_score_ms": ("token score, ms", 2),
        "prefill_ms": ("prefill, ms", 1),
        "prefill_speedup": ("prefill speed-up", 2),
        "decode_ms_per_token": ("decode, ms per token", 2),
        "kv_cache_mb": ("KV cache, MB", 2),
        "kv_cache_share": ("KV cache, %", 1),
        "peak_memory_mb": ("peak memory, MB", 0),
    }
    rows = [
        [row["variant"], row["pruning_ratio"]]
        + [number(row[key], digits) for key, (_, digits) in columns.items()]
        for _, row in cost_table(run.cost).iterrows()
    ]
    head = ["variant", "removed", *(title for title, _ in columns.values())]
    curve = section_pictures(run, "cost")
    note = (
        "Medians over repeats. Speed-ups are medians of ratios to the unpruned model, which ran in between; "
        f"token score is all that pruning adds before the prefill. {conditions(run.cost_made)}"
    )
    return f'{curve}<p class="soft">{escape(note)}</p>' + table(head, rows, names="sortable")
