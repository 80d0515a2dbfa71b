"""How the ranking of variants changes between runs that differ in one setting.

Rounding and position policy must be equal within a comparison (the budget is audited), so each
setting is a run of its own with the same variants: ``position_policy``, ``rounding``, the token
score's normalization. A run goes by its folder's name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hawk.analysis import statistics
from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.core.errors import InputError
from hawk.report.numbers import number
from hawk.report.tables import read_retention


def read_runs(folders: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Overall rows of each run's comparison table, by the run folder's name."""
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError(f"--run-dir: there is no folder {folder!r}; give outputs/RUN.")
    runs = {Path(folder).resolve().name: read_retention(folder)[0] for folder in folders}
    if len(runs) != len(folders):
        raise InputError(f"--run-dir: two folders of one name among {', '.join(folders)}.")
    if len(runs) < 2:
        raise InputError("--run-dir: a ranking is compared between two or more runs.")
    compared = {name: sorted(set(frame["benchmark"]) - {OVERALL}) for name, frame in runs.items()}
    first = next(iter(compared))
    for name, benchmarks in compared.items():
        if benchmarks != compared[first]:
            raise InputError(
                f"run {name} is over {', '.join(benchmarks)}, run {first} over {', '.join(compared[first])}; "
                "overall retention can only be ranked over the same benchmarks."
            )
    return {name: frame[frame["benchmark"] == OVERALL] for name, frame in runs.items()}


def rankings(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per run, ratio and variant that all runs share: retention, its interval and rank.

    Rank 1 is the best; equal retention shares a rank. ``same_ranking`` is the rank correlation
    (Spearman) of the run with the first one at that ratio. A variant whose retention is not defined has no
    rank, and its ratio no correlation.
    """
    keys = [
        set(zip(table_of_run["variant"], table_of_run["pruning_ratio"], strict=True))
        for table_of_run in runs.values()
    ]
    shared = set.intersection(*keys)
    parts = []
    for name, frame in runs.items():
        mask = [
            key in shared and key[0] not in (BASELINE, MAJORITY)
            for key in zip(frame["variant"], frame["pruning_ratio"], strict=True)
        ]
        part = frame[mask][["variant", "pruning_ratio", "retention", "ci_low", "ci_high"]]
        parts.append(part.assign(run=name))
    if not len(parts[0]):
        raise InputError(f"runs {', '.join(runs)}: no variant and ratio that all of them have.")
    table = pd.concat(parts, ignore_index=True)
    groups = table.groupby(["run", "pruning_ratio"], sort=False)
    table["rank"] = groups["retention"].rank(ascending=False, method="min").astype("Int64")
    first = next(iter(runs))
    table["same_ranking"] = np.nan
    for (_, ratio), rows in groups.groups.items():
        retention = table.loc[rows].set_index("variant")["retention"]
        base = table[(table["run"] == first) & (table["pruning_ratio"] == ratio)].set_index("variant")
        table.loc[rows, "same_ranking"] = float(
            statistics.spearman(retention, base["retention"][retention.index])
        )
    return table


def rankings_text(table: pd.DataFrame) -> str:
    """Markdown: per ratio, variants in rows, runs in columns, each with retention and rank."""
    runs = list(dict.fromkeys(table["run"]))
    lines = []
    for ratio, part in table.groupby("pruning_ratio", sort=False):
        lines += [f"removed: {ratio}", "", "| variant | " + " | ".join(runs) + " |"]
        lines.append("|---|" + "---:|" * len(runs))
        by = {(row.variant, row.run): _cell(row.retention, row.rank) for row in part.itertuples()}
        for variant in part[part["run"] == runs[0]].sort_values("rank")["variant"]:
            cells = [by[variant, run] for run in runs]
            lines.append("| " + " | ".join([variant, *cells]) + " |")
        same = part.drop_duplicates("run").set_index("run")["same_ranking"]
        cells = [number(same[run], 2, sign=True) for run in runs]
        lines += ["| *rank correlation with the first* | " + " | ".join(cells) + " |", ""]
    return "\n".join(lines)


def _cell(retention: float, rank: int) -> str:
    return "" if pd.isna(retention) else f"{number(retention)} (#{rank})"
