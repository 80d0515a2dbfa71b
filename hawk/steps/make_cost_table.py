"""The step make_cost_table: measured cost as a table like the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.analysis.cost import conditions, cost_table
from hawk.core.atomic import write_text
from hawk.core.files import provenance_of, read_table
from hawk.core.paths import RunPaths
from hawk.core.schemas import COST
from hawk.report import columns
from hawk.report.tables import cost_markdown, csv_text

READS = ()  # all of it stands in cost.parquet


def make_cost_table(config: Mapping[str, Any], root: str) -> list[str]:
    """``tables/cost`` as CSV and Markdown from ``cost.parquet``; returns the paths."""
    paths = RunPaths(root)
    measured = read_table(paths.cost(), COST, {"table": "cost"})
    table = cost_table(measured.to_pandas())
    out = [paths.table("cost", ending) for ending in ("csv", "md")]
    write_text(out[0], csv_text(columns.COST, table.to_dict("records")))
    about = conditions(provenance_of(measured, paths.cost()))
    write_text(out[1], f"{cost_markdown(table)}\n{about}\n")
    return out
