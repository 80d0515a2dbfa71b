"""The report's sections on retention, controls and kept tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from hawk.analysis.comparison import BASELINE, MAJORITY, OVERALL
from hawk.analysis.controls import is_floor
from hawk.report.page import escape, picture, table
from hawk.report.run import Run
from hawk.report.tables import interval, number, ordered, p_text

# --- retention --------------------------------------------------------------------------------------


def retention(run: Run) -> str:
    if run.retention is None:
        return ""
    frame, reference = run.retention, run.settings.get("reference")
    text = picture(
        run.paths.figure("retention"),
        "retention against pruning ratio",
        "Retention overall: unweighted mean over benchmarks, in percent of the unpruned model. Bands: the "
        "range over seeds. blind sees no visual token: the floor. Points of one ratio are set side by side.",
    )
    names = [OVERALL, *(name for name in dict.fromkeys(frame["benchmark"]) if name != OVERALL)]
    text += picture(run.paths.figure("retention-benchmarks"), "retention per benchmark")
    for name in names:
        listed = _retention_table(frame[frame["benchmark"] == name], reference)
        mark = " open" if name == OVERALL else ""
        text += f"<details{mark}><summary>Table: {escape(name)}</summary>{listed}</details>"
    return text + _controls(run)


def _controls(run: Run) -> str:
    if run.controls is None or not len(run.controls):
        return ""
    rows = [
        (
            row["variant"],
            row["control"],
            row["pruning_ratio"],
            number(row["difference"], sign=True),
            interval(row["difference_low"], row["difference_high"], sign=True),
        )
        for row in run.controls.to_dict("records")
    ]
    listed = table(["calibrated", "control", "removed", "difference", "interval"], rows, 2, "sortable")
    title = "Table: calibrated weights against every control, overall (described, not tested)"
    return f"<details><summary>{title}</summary>{listed}</details>"


def _retention_table(part: pd.DataFrame, reference: str | None) -> str:
    published = part["published"].notna().any()
    kind = "retention" if (part["benchmark"] == OVERALL).all() else "value"
    head = [
        "variant",
        "removed",
        "kept",
        "native",
        "retention",
        "interval",
        "seeds",
        "difference",
        "interval",
    ]
    head += ["p (Holm)", "verdict", "win / tie / loss"] + ([f"published {kind}"] if published else [])
    rows = []
    for row in ordered(part).to_dict("records"):
        kind = {reference: "reference", BASELINE: "floor", MAJORITY: "floor"}.get(row["variant"], "")
        kind = "floor" if is_floor(row["method"]) else kind
        seeds = ""
        if row["seeds"] > 1:
            seeds = f"{row['seeds']}: {number(row['seed_low'])} to {number(row['seed_high'])}"
        ratio = row["pruning_ratio"] if isinstance(row["pruning_ratio"], str) else ""
        word = row["verdict"] if isinstance(row["verdict"], str) else ""
        counts = " / ".join(number(row[key], 0) for key in ("wins", "ties", "losses"))
        cells: list[tuple[str, Any, str]] = [
            (row["variant"], row["variant"], "left"),
            (ratio, ratio, ""),
            (number(row["kept_tokens"]), row["kept_tokens"], ""),
            (number(row["native_value"]), row["native_value"], ""),
            (number(row["retention"]), row["retention"], ""),
            (interval(row["ci_low"], row["ci_high"]), row["ci_low"], ""),
            (seeds, row["seeds"], ""),
            (number(row["difference"], sign=True), row["difference"], ""),
            (interval(row["difference_low"], row["difference_high"], sign=True), row["difference_low"], ""),
            (p_text(row["p_adjusted"]), row["p_adjusted"], ""),
            (word, word, word if word in ("better", "worse") else ""),
            (counts if word else "", row["wins"], ""),
        ]
        if published:
            cells.append((number(row["published"]), row["published"], ""))
        rows.append(f'<tr class="{kind}">{"".join(map(_cell, cells))}</tr>')
    headings = "".join(f'<th aria-sort="none">{escape(one)}</th>' for one in head)
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{headings}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(cell: tuple[str, Any, str]) -> str:
    text, value, kind = cell
    value = "" if isinstance(value, float) and value != value else value
    return f'<td class="{kind}" data-v="{escape(value)}">{escape(text)}</td>'


# --- the rest ---------------------------------------------------------------------------------------


def kept_tokens(run: Run) -> str:
    folder = Path(run.paths.figure("kept_tokens", "png")).parent
    found = sorted(folder.glob("kept_tokens*.png"))
    return "".join(
        picture(
            str(path),
            "visual tokens that each variant keeps",
            "Framed, in colour: kept. Grey: removed." if number == len(found) - 1 else "",
        )
        for number, path in enumerate(found)
    )
