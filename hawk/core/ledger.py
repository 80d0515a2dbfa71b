"""``data/versions.tsv``: which commit of which repository a benchmark's numbers rest on.

An installed package's own file is not written to: what is fetched there goes into ``data/versions.tsv``
of the working directory, which is read first.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from hawk.core.atomic import atomic_path, check_output, output_lock
from hawk.core.errors import InputError
from hawk.core.shipped import INSTALLED, shipped

COLUMNS = (
    "name",  # benchmark or model
    "kind",  # dataset or model
    "id",
    "config",
    "split",
    "revision",  # commit
    "rows",
    "licence",
    "sha256",  # over the downloaded files, see hawk.fetch
    "added",
)
PATH = Path("data/versions.tsv") if INSTALLED else shipped("data", "versions.tsv")


def read(path: Path | None = None) -> list[dict[str, str]]:
    """The entries of a ledger; without a path, of all that is known here, one for each kind and name."""
    rows = _rows(path or PATH)
    if path is not None or not INSTALLED:
        return rows
    known = {(row["kind"], row["name"]) for row in rows}
    more = _rows(shipped("data", "versions.tsv"))
    return rows + [row for row in more if (row["kind"], row["name"]) not in known]


def _rows(path: Path) -> list[dict[str, str]]:
    check_output(path)
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, delimiter="\t", strict=True)
            rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a ledger of downloads ({error}).") from None
    if tuple(table.fieldnames or ()) != COLUMNS:
        raise InputError(f"{path}: not a ledger of downloads; its columns are {', '.join(COLUMNS)}.")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(f"{path}, line {number}: not {len(COLUMNS)} columns, as a ledger has.")
    return rows


def record(entry: Mapping[str, str], path: Path | None = None) -> None:
    """Put an entry in, in the place of an older one of the same name; order by kind and name."""
    path = path or PATH
    with output_lock(path):
        rows = [row for row in read(path) if (row["kind"], row["name"]) != (entry["kind"], entry["name"])]
        rows.append({column: str(entry.get(column, "") or "") for column in COLUMNS})
        rows.sort(key=lambda row: (row["kind"], row["name"]))
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def pinned(repo: str, kind: str = "dataset") -> str | None:
    """The commit that the ledger ``data/versions.tsv`` records for a repository, if it has one."""
    revisions = (row["revision"] for row in read() if (row["kind"], row["id"]) == (kind, repo))
    return next(filter(None, revisions), None)
