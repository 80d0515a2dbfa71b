"""Measured cost as a table like the paper's, and as the curve a user chooses from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hawk.core.atomic import write_text
from hawk.core.errors import InputError
from hawk.core.files import provenance_of, read_table
from hawk.core.paths import RunPaths
from hawk.core.schemas import COST
from hawk.report.figures.style import save, style

if TYPE_CHECKING:
    pass
from hawk.analysis.cost import conditions, cost_table
from hawk.report.figures.speedup import speedup_figure
from hawk.report.tables import cost_markdown


def write_cost(root: str, only: str | None = None) -> list[str]:
    """``tables/cost.{csv,md}`` and, where retention is known, ``figures/speedup``; or one of the two."""
    paths = RunPaths(root)
    found = read_table(paths.cost(), COST, {"table": "cost"})
    table, made = cost_table(found.to_pandas()), provenance_of(found, paths.cost())
    written = []
    if only != "figure":
        written += [paths.table("cost", "csv"), paths.table("cost", "md")]
        write_text(written[0], table.to_csv(index=False))
        write_text(written[1], f"{cost_markdown(table)}\n{conditions(made)}\n")
    retention_path = paths.table("retention", "parquet")
    if only != "table" and Path(retention_path).is_file():
        import pandas as pd

        with style():
            figure = speedup_figure(table, pd.read_parquet(retention_path))
            written += save(figure, paths, "speedup")
    elif only == "figure":
        raise InputError(f"{retention_path}: there is no such file; the figure needs retention.")
    return written
