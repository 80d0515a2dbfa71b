"""The report's sections on retention, controls and kept tokens."""

from __future__ import annotations

import pandas as pd

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.analysis.controls import is_ceiling, is_floor
from hawk.report import columns
from hawk.report.columns import Row
from hawk.report.page import escape
from hawk.report.pictures import section_pictures
from hawk.report.run import Run
from hawk.report.tables import benchmark_rows, html_table, hypotheses_about, shown_benchmarks

# --- retention --------------------------------------------------------------------------------------


def retention(run: Run) -> str:
    if run.retention is None:
        return ""
    frame, reference_variant = run.retention, run.settings.get("reference")
    text = section_pictures(run, "retention")
    for name in shown_benchmarks(frame):
        listed = _retention_table(frame, name, reference_variant)
        mark = " open" if name == OVERALL else ""
        text += f"<details{mark}><summary>Table: {escape(name)}</summary>{listed}</details>"
    return text + _hypotheses(run) + _controls(run)


def _hypotheses(run: Run) -> str:
    if run.hypotheses is None:
        return ""
    frame, settings = run.hypotheses
    rows: list[Row] = frame.to_dict("records")  # type: ignore[assignment]
    listed = html_table(columns.HYPOTHESES, rows)
    about = f"<p>{escape(hypotheses_about(rows, settings))}</p>"
    return f"<details open><summary>Table: declared hypotheses</summary>{about}{listed}</details>"


def _controls(run: Run) -> str:
    if run.controls is None or not len(run.controls):
        return ""
    listed = html_table(columns.CONTROLS, run.controls.to_dict("records"))
    title = "calibrated weights against every control, overall (confidence intervals, no significance tests)"
    return f"<details><summary>Table: {title}</summary>{listed}</details>"


def _retention_table(frame: pd.DataFrame, name: str, reference_variant: str | None) -> str:
    def kind(row: Row) -> str:
        if is_floor(row["method"]) or is_ceiling(row["method"]) or row["variant"] in (BASELINE, MAJORITY):
            return "floor"
        return "reference" if row["variant"] == reference_variant else ""

    return html_table(columns.RETENTION, benchmark_rows(frame, name), name == OVERALL, kind)


# --- the rest ---------------------------------------------------------------------------------------


def kept_tokens(run: Run) -> str:
    return section_pictures(run, "tokens")
