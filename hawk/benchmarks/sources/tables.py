"""Where a benchmark's rows come from, and the rows as plain dicts with encoded images.

``hub``: parquet of a dataset repository at a pinned commit (network, or the cache when offline).
``parquet``: a local file or folder. ``tsv``: a file of VLMEvalKit already on disk.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawk.benchmarks.sources import hub
from hawk.core.errors import InputError, unknown
from hawk.core.images import file_hash, read_bytes
from hawk.core.ledger import pinned
from hawk.core.values import shown

KINDS = ("hub", "parquet", "tsv")
_BATCH = 64  # rows held at once; images may be megabytes each


@dataclass(frozen=True)
class Source:
    """The rows of one table. ``kind`` says whose columns they have: the Hub's or VLMEvalKit's."""

    kind: str
    files: tuple[Path, ...]
    described: Mapping[str, str | None]  # what provenance records

    def rows(self, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        if self.kind == "tsv":
            return tsv_rows(self.files[0], columns)
        return parquet_rows(self.files, columns, optional)


def open_source(
    name: str,
    options: Mapping[str, Any],
    *,
    hub_id: str,
    config: str | None,
    split: str,
    tsv: str | None,
) -> Source:
    """The source that a benchmark's options name; the defaults are the benchmark's own."""
    path = options.get("path")
    kind = options.get("source") or _kind_of(path)
    if kind not in KINDS:
        raise unknown(f"source (data.{name}.source)", kind, KINDS)
    if kind == "hub":
        repo = options.get("id", hub_id)
        config, split = options.get("config", config), options.get("split", split)
        revision = hub.commit(repo, options.get("revision") or pinned(repo))
        files = tuple(hub.parquet_files(repo, config, split, revision))
        described = {"source": kind, "id": repo, "config": config, "split": split}
        return Source(kind, files, {**described, "revision": revision})
    if kind == "tsv":
        file = Path(path).expanduser() if path else lmu_data() / f"{tsv}.tsv"
        if not file.is_file():
            raise InputError(
                f"data.{name}.path: there is no file {file}. Name a TSV of VLMEvalKit, or put it "
                "into the folder $LMUData (default ~/LMUData)."
            )
        return Source(kind, (file,), {"source": kind, "id": file.name, "split": options.get("split")})
    if not path:
        raise InputError(f"data.{name}.path is missing: source parquet needs a file or a folder.")
    files = local_parquet(name, Path(path).expanduser())
    return Source(kind, files, {"source": kind, "id": str(path), "split": options.get("split", split)})


def _kind_of(path: str | None) -> str:
    if path is None:
        return "hub"
    return "tsv" if str(path).lower().endswith(".tsv") else "parquet"


def lmu_data() -> Path:
    """VLMEvalKit's data folder."""
    return Path(os.environ.get("LMUData") or "~/LMUData").expanduser()  # noqa: SIM112


def local_parquet(name: str, path: Path) -> tuple[Path, ...]:
    files = tuple(sorted(path.rglob("*.parquet"))) if path.is_dir() else (path,)
    if not files or not all(file.is_file() for file in files):
        raise InputError(f"data.{name}.path: {path} is neither a parquet file nor a folder with some.")
    return files


def files_hash(root: Path, files: Sequence[Path]) -> str:
    """SHA-256 over names and contents, whatever the order."""
    state = hashlib.sha256()
    for name, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
        state.update(f"{name}\0{file_hash(file)}\n".encode())
    return state.hexdigest()


def root_of(files: Sequence[Path], revision: str | None) -> Path:
    """The folder that file names are relative to: the repository's, or what all files share."""
    snapshots = [parent for parent in files[0].parents if parent.name == revision]
    return snapshots[0] if snapshots else Path(os.path.commonpath([file.parent for file in files]))


def parquet_rows(
    files: Sequence[Path], columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Rows in file order. A missing column is an error that names it and those that are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: not a readable parquet file ({error}).") from None
        with file:
            there = file.schema_arrow.names
            once_each(there, path)
            missing = [column for column in columns if column not in there]
            if missing:
                raise InputError(
                    f"{path}: no column {', '.join(map(repr, missing))}. It has: {', '.join(there)}."
                )
            wanted = [*columns, *(column for column in optional if column in there)]
            try:
                for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                    yield from batch.to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{path}: not a readable parquet file ({error}).") from None


def once_each(columns: Iterable[object], path: Path) -> None:
    """Refuse a table that has a column twice: which of the two is meant is not known."""
    counts = Counter(name for name in map(str, columns) if name.strip() and name != "nan")
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise InputError(f"{path}: the column {shown(doubled[0])} is there {counts[doubled[0]]} times.")


def tsv_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a VLMEvalKit TSV; ``image`` becomes {"bytes", "path"}, empty cells None.

    A cell of ``image`` is base64, or the index of the row that has the image; ``image_path`` names
    a file. Unlike upstream's reading, the texts "None" and "NA" stay texts: an option may say so.
    """
    import pandas as pd

    try:
        once_each(pd.read_csv(path, sep="\t", dtype=str, header=None, nrows=1).iloc[0], path)
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_values=[""])
    except InputError:
        raise
    except (ValueError, OSError) as error:  # pandas' own, and no UTF-8
        raise InputError(f"{path}: not a readable TSV ({error}).") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(map(repr, missing))}. It has: {', '.join(table.columns)}."
        )
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    by_index = {row.get("index"): row for row in records}
    for row in records:
        yield {**row, "image": tsv_image(row, by_index, path)}


def tsv_image(
    row: Mapping[str, Any], by_index: Mapping[Any, Mapping[str, Any]], path: Path
) -> dict[str, Any] | None:
    cell = row.get("image")
    if cell is not None and len(cell) < 64 and cell in by_index and cell != row.get("index"):
        cell = by_index[cell].get("image")
    if cell:
        try:
            return {"bytes": base64.b64decode(cell, validate=True), "path": None}
        except (binascii.Error, ValueError):
            raise InputError(
                f"{path}: index {row.get('index')!r}: image is neither base64 nor another row's index."
            ) from None
    if row.get("image_path"):
        file = Path(row["image_path"]).expanduser()
        file = file if file.is_absolute() else path.parent / file
        return read_file(file)
    return None


def read_file(path: Path) -> dict[str, Any]:
    """An encoded file as the contract holds it."""
    return {"bytes": read_bytes(path), "path": path.name}
