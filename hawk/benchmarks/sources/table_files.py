"""Rows of a table of any kind that lies on disk: parquet, CSV, TSV, JSONL."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hawk.benchmarks.sources.tables import local_parquet, once_each, parquet_rows
from hawk.core.errors import InputError, unknown
from hawk.core.values import json_lines

ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl")
_LONGEST_CELL = 2**31 - 1


def table_rows(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a parquet file or folder, a CSV, a TSV or a JSONL; cells of text stay as written."""
    ending = path.suffix.lower()
    if path.is_dir() or ending == ".parquet":
        yield from _parquet(name, path)
        return
    if ending not in ENDINGS:
        raise unknown(f"kind of file ({path})", ending, ENDINGS)
    if not path.is_file():
        raise InputError(f"benchmark {name!r}: there is no file {path}.")
    try:
        if ending == ".jsonl":
            yield from (row for _, row in json_lines(path))
        else:
            yield from _csv(path, "\t" if ending == ".tsv" else ",")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as text in UTF-8 ({error}).") from None


def _csv(path: Path, delimiter: str) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        header: Sequence[str] | None = None
        while True:
            # Python's limit of 131,072 characters a cell is one for the whole process.
            limit = csv.field_size_limit(_LONGEST_CELL)
            try:
                if header is None:
                    header = reader.fieldnames or ()
                    once_each(header, path)
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
            finally:
                csv.field_size_limit(limit)
            if None in row:
                raise InputError(f"{path}, line {reader.line_num}: more cells than the header has columns.")
            yield row


def _parquet(name: str, path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = local_parquet(name, path)
    try:
        columns = pq.read_schema(files[0]).names
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{files[0]}: not a readable parquet file ({error}).") from None
    yield from parquet_rows(files, columns)
