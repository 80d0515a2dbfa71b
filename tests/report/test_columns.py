"""The list of columns: what stands in it stands in every format it names, in its order."""

from __future__ import annotations

from typing import Any

import pytest

from hawk.analysis import comparison, controls
from hawk.report import columns
from hawk.report.columns import CSV, HTML, MARKDOWN, TERMINAL, Column, select
from hawk.report.tables import csv_text, html_table, markdown_rows, terminal_rows

ROW: dict[str, Any] = {"name": "a|b<c", "size": 1.25, "none": None}
TABLE = [
    Column("name", "name", lambda row: row["name"], (CSV, MARKDOWN, TERMINAL, HTML), left=True),
    Column("size", "size", lambda row: f"{row['size']:.1f}", (MARKDOWN, TERMINAL, HTML), overall="points"),
    Column("none", "absent", lambda row: str(row["none"] or ""), (MARKDOWN,), if_any=True),
]


def test_one_list_makes_every_format() -> None:
    assert csv_text(TABLE, [ROW]) == "name\na|b<c\n"
    assert markdown_rows(TABLE, [ROW]) == ["| name | size |", "|---|---:|", "| a\\|b<c | 1.2 |"]
    assert markdown_rows(TABLE, [ROW], overall=True)[0] == "| name | points |"
    assert terminal_rows(TABLE, [ROW]) == ["name   size", "a|b<c   1.2"]
    page = html_table(TABLE, [ROW])
    assert '<td class="left" data-v="a|b&lt;c">a|b&lt;c</td><td class="" data-v="1.25">1.2</td>' in page
    assert "absent" in markdown_rows(TABLE, [{**ROW, "none": 3}])[0]


def test_the_terminal_shortens_names_and_never_numbers() -> None:
    lines = terminal_rows(TABLE, [{**ROW, "name": "x" * 200}])
    assert [len(line) for line in lines] == [80, 80]
    assert "x…x" in lines[1]
    assert lines[1].endswith("x   1.2")


def test_shortened_names_stay_different() -> None:
    """hawk-selection-mmr, -cover and -permuted were one name in the table of many variants."""
    names = ["a" * 100 + end for end in ("mmr", "cover")]
    lines = terminal_rows(TABLE, [{**ROW, "name": name} for name in names])
    assert lines[1] != lines[2]
    assert {len(line) for line in lines} == {80}
    names = ["a" * 100 + middle + "a" * 100 for middle in "xy"]
    lines = terminal_rows(TABLE, [{**ROW, "name": name} for name in names])
    assert [name in line for name, line in zip(names, lines[1:], strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("table", "schema"), [(columns.RETENTION, comparison.RETENTION), (columns.CONTROLS, controls.CONTROLS)]
)
def test_csv_has_every_column_of_the_file(table: list[Column], schema: Any) -> None:
    assert [column.key for column in select(table, CSV, [])] == schema.names
    assert {column.key for column in table} == set(schema.names)
