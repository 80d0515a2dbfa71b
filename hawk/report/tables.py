"""The comparison and cost as tables: CSV, Markdown, a terminal, HTML; made from the list of columns."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL, RETENTION
from hawk.analysis.controls import CONTROLS
from hawk.analysis.hypotheses import HYPOTHESES
from hawk.core import files
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.core.settings_checks import required
from hawk.report import columns
from hawk.report.columns import CSV, HTML, MARKDOWN, TERMINAL, Column, Row, select
from hawk.report.page import SCROLL, escape

WIDTH = 80  # of a terminal


def read_retention(root: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The comparison table and the settings it was made with."""
    path = RunPaths(root).table("retention", "parquet")
    table = files.read_table(path, RETENTION, {"table": "retention"})
    settings = files.provenance_of(table, path)["settings"]
    try:
        required(settings, "statistics", "ratios", "variants")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    frame = table.to_pandas()
    if not (frame["benchmark"] == OVERALL).any():
        raise InputError(f"{path}: it has no row over all benchmarks. Delete the file and run again.")
    return frame, settings


def read_controls(root: str) -> pd.DataFrame:
    """Calibrated variants against every control."""
    path = RunPaths(root).table("controls", "parquet")
    return files.read_table(path, CONTROLS, {"table": "controls"}).to_pandas()


def read_hypotheses(root: str) -> tuple[pd.DataFrame, dict[str, Any]] | None:
    """The declared hypotheses with their tests, and the settings of both; None if there is none."""
    path = RunPaths(root).table("hypotheses", "parquet")
    if not Path(path).is_file():
        return None
    table = files.read_table(path, HYPOTHESES, {"table": "hypotheses"})
    return table.to_pandas(), files.provenance_of(table, path)["settings"]


# --- any table --------------------------------------------------------------------------------------


def csv_text(table: Iterable[Column], rows: Sequence[Row]) -> str:
    """Numbers as they are, with a line of keys above."""
    chosen = select(table, CSV, rows)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.heading for column in chosen])
    writer.writerows([column.format(row) for column in chosen] for row in rows)
    return file.getvalue()


def markdown_rows(table: Iterable[Column], rows: Sequence[Row], overall: bool = False) -> list[str]:
    """Head, rule and rows."""
    chosen = select(table, MARKDOWN, rows)
    lines = [[column.title(overall) for column in chosen]]
    lines += [[column.format(row).replace("|", "\\|") for column in chosen] for row in rows]
    head, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    rule = "|" + "".join("---|" if column.left else "---:|" for column in chosen)
    return [head, rule, *body]


def terminal_rows(table: Iterable[Column], rows: Sequence[Row], gap: str = "  ") -> list[str]:
    """Columns under each other, at most 80 wide: names in the first are shortened while they differ, numbers
    never.
    """
    chosen = select(table, TERMINAL, rows)
    cells = [[column.heading for column in chosen]]
    cells += [[column.format(row) for column in chosen] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    first = _shortened([row[0] for row in cells], WIDTH - sum(widths[1:]) - len(gap) * (len(widths) - 1))
    widths[0] = max(map(len, first))
    lines = []
    for name, (_, *others) in zip(first, cells, strict=True):
        placed = zip([name, *others], widths, chosen, strict=True)
        lines.append(gap.join(text.ljust(w) if c.left else text.rjust(w) for text, w, c in placed).rstrip())
    return lines


def _shortened(names: Sequence[str], width: int) -> Sequence[str]:
    """Longer names without their middle; all of them whole where two would then read alike."""
    width = max(width, 8)
    end = (width - 1) // 2
    short = [
        name if len(name) <= width else f"{name[: width - 1 - end]}…{name[len(name) - end :]}"
        for name in names
    ]
    return short if len(set(short)) == len(set(names)) else names


def html_table(
    table: Iterable[Column],
    rows: Sequence[Row],
    overall: bool = False,
    kind: Callable[[Row], str] = lambda row: "",
) -> str:
    """A table that the page's script sorts by the values below the texts. kind: a row's class."""
    chosen = select(table, HTML, rows)
    head = "".join(_html_head(column, overall) for column in chosen)
    body = "".join(
        f'<tr class="{escape(kind(row))}">{"".join(_html_cell(column, row) for column in chosen)}</tr>'
        for row in rows
    )
    return (
        f'{SCROLL}<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _html_head(column: Column, overall: bool) -> str:
    left = " class=left" if column.left else ""
    return f'<th{left} aria-sort="none">{escape(column.title(overall))}</th>'


def _html_cell(column: Column, row: Row) -> str:
    value, text = row[column.key], column.format(row)
    if value is None or (isinstance(value, float) and value != value):
        value = ""
    kind = "left" if column.left else text if text in ("better", "worse") else ""
    return f'<td class="{kind}" data-v="{escape(value)}">{escape(text)}</td>'


# --- retention --------------------------------------------------------------------------------------


def hypotheses(frame: pd.DataFrame) -> int:
    """How many were tested together; with one benchmark, overall is the same one again."""
    tested = frame[frame["p_adjusted"].notna()]
    of_benchmarks = tested[tested["benchmark"] != OVERALL]
    return len(of_benchmarks) if of_benchmarks["benchmark"].nunique() == 1 else len(tested)


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Ratio by ratio, best first; the baseline on top and the majority answer at the end."""
    place = {BASELINE: 0, MAJORITY: 2}
    keys = pd.DataFrame(
        {
            "place": [place.get(name, 1) for name in frame["variant"]],
            "ratio": pd.to_numeric(frame["pruning_ratio"]).fillna(2.0),
            "retention": -frame["retention"],
            "variant": frame["variant"],
        },
        index=frame.index,
    )
    return frame.loc[keys.sort_values(list(keys.columns), kind="stable").index]


def benchmark_rows(frame: pd.DataFrame, benchmark: str) -> list[Row]:
    """One benchmark's rows as they are shown."""
    return ordered(frame[frame["benchmark"] == benchmark]).to_dict("records")  # type: ignore[return-value]


def shown_benchmarks(frame: pd.DataFrame) -> list[str]:
    """Overall first."""
    return [OVERALL, *(name for name in dict.fromkeys(frame["benchmark"]) if name != OVERALL)]


def fewer_samples(frame: pd.DataFrame) -> list[str]:
    """Per benchmark with fewer samples than were asked for: how many of how many."""
    base = frame[(frame["variant"] == BASELINE) & (frame["benchmark"] != OVERALL)]
    rows = base[base["samples"] < base["requested"]].to_dict("records")
    return [f"{row['benchmark']} {row['samples']} of {row['requested']:.0f}" for row in rows]


def _bears(sign: str) -> Callable[[Row], bool]:
    return lambda row: sign in columns.marks(row)


def text_table(
    frame: pd.DataFrame, benchmark: str = OVERALL, settings: Mapping[str, Any] | None = None
) -> str:
    """One benchmark's comparison for a terminal, at most 80 columns."""
    rows = benchmark_rows(frame, benchmark)
    lines = terminal_rows(columns.RETENTION, rows, gap=" ")
    below = [f"{sign} {columns.MARKS[sign]}." for sign in columns.MARKS if any(map(_bears(sign), rows))]
    if fewer := fewer_samples(frame):
        below.append(f"Fewer samples than asked for: {', '.join(fewer)}.")
    if settings is not None:
        tests = hypotheses(frame)
        about = (
            f"{benchmark}: retention in % of the unpruned model, with "
            f"{100 * settings['statistics']['confidence']:g} % intervals over images. vs ref: paired, to "
            f"{settings.get('reference')}. p: sign flips, Holm over {tests}."
        )
        lines += ["", *textwrap.wrap(about, WIDTH)]
    lines += [line for text in below for line in textwrap.wrap(text, WIDTH)]
    return "\n".join(lines)


def markdown(frame: pd.DataFrame, settings: Mapping[str, Any]) -> str:
    """All tables in Markdown: overall first, then one per benchmark."""
    reference_variant = settings.get("reference")
    confidence = 100 * settings["statistics"]["confidence"]
    lines = [
        "# Retention",
        "",
        "Retention is the pruned model's native value in percent of the unpruned model's; overall is the "
        f"unweighted mean over benchmarks. Brackets are {confidence:g} % bootstrap intervals over "
        "images.",
    ]
    if reference_variant is not None:
        named = reference_variant.replace("|", "\\|")
        lines.append(
            f"Differences are paired, to `{named}`, in points of retention. *better* and "
            "*worse* need p < .05 in a sign-flip test over images, adjusted by Holm over all "
            f"{hypotheses(frame)} comparisons below; an interval alone decides nothing."
        )
    lines.append(
        f"*not stopped*: answers, in percent, that ran to the limit; *first word*: retention of the score of "
        f"the answers' first words; *token 0*: prompts, in percent, that keep their first visual token. "
        f"*does not stop*: {columns.MARKS['†']}. *at the floor*: {columns.MARKS['‡']}."
    )
    lines.append("Variants with seeds show their mean and, in parentheses, the range over seeds.")
    for name in shown_benchmarks(frame):
        rows = benchmark_rows(frame, name)
        counts = f"{int(rows[0]['samples'])} samples, {int(rows[0]['groups'])} images."
        if rows[0]["samples"] < rows[0]["requested"]:
            counts = counts.replace(" samples", f" of the {rows[0]['requested']:.0f} samples asked for")
        lines += ["", "## " + name.replace("|", "\\|"), "", counts, ""]
        lines += markdown_rows(columns.RETENTION, rows, name == OVERALL)
    return "\n".join(lines) + "\n"


# --- hypotheses -------------------------------------------------------------------------------------


def hypotheses_about(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """One sentence on how the declared hypotheses were tested."""
    confidence, runs = 100 * settings["statistics"]["confidence"], rows[0]["runs"]
    models = f", averaged over {runs} models" if runs > 1 else ""
    return (
        f"Declared hypotheses: differences in points of retention{models}, with {confidence:g} % intervals "
        f"over images; p: paired sign flips over images, Holm over these {len(rows)} tests."
    )


def hypotheses_text(frame: pd.DataFrame, settings: Mapping[str, Any]) -> str:
    """For a terminal, at most 80 columns."""
    rows: list[Row] = frame.to_dict("records")  # type: ignore[assignment]
    about = textwrap.wrap(f"{hypotheses_about(rows, settings)} on: benchmarks averaged.", WIDTH)
    return "\n".join([*terminal_rows(columns.HYPOTHESES, rows, gap=" "), "", *about])


def hypotheses_markdown(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The declared hypotheses, in the config's order."""
    table = markdown_rows(columns.HYPOTHESES, rows)
    return "\n".join(["# Hypotheses", "", hypotheses_about(rows, settings), "", *table, ""])


# --- cost -------------------------------------------------------------------------------------------


def cost_markdown(table: pd.DataFrame) -> str:
    """The paper's columns (latency, KV cache, memory) and where the time goes."""
    rows: list[Row] = table.to_dict("records")  # type: ignore[assignment]
    head, _, *body = markdown_rows(columns.COST, rows)
    rule = "|" + " --- |" * len(select(columns.COST, MARKDOWN, rows))
    note = "Medians over repeats; speed-ups against the unpruned model in between."
    return "\n".join([head, rule, *body, "", note, ""])
