"""The parquet contracts between steps: schemas, atomic writes, reads with checks, digests, locks.

Every table carries its provenance as JSON under the schema metadata key ``hawk``. Inside it,
``identity`` repeats the names that the path carries (role, benchmark, intervention, head,
variant); readers check that both agree, so that a file moved by hand is noticed.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.core.errors import InputError
from hawk.core.schemas import SAMPLES


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside ``path`` that replaces it when the block ends without an error.

    Written, fsynced, renamed: a reader sees the old file, the new one or none, never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def output_lock(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Hold the only right to write ``path``; yields True if another writer had to be waited for.

    An orphaned cluster job and its resubmission may both be after one output. The second waits,
    and its caller then finds a finished file. The lock is an flock, so it ends with its process
    however that dies.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    waited = False
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        # The one before us removes the file when done: a lock on a removed file locks nothing.
        try:
            same = os.fstat(handle).st_ino == os.stat(lock).st_ino
        except FileNotFoundError:
            same = False
        if same:
            break
        os.close(handle)
    # Left by writers that were killed: nobody but us may be writing this output now.
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)
    try:
        yield waited
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(
    path: str | os.PathLike[str],
    rows: Any,
    schema: pa.Schema,
    provenance: Mapping[str, Any],
) -> None:
    """Write rows (a DataFrame, an Arrow table or a list of dicts) under ``schema``, atomically."""
    if isinstance(rows, pa.Table):
        table = rows.cast(schema)
    elif isinstance(rows, list):
        table = pa.Table.from_pylist(rows, schema=schema)
    else:
        table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
    table = table.replace_schema_metadata({"hawk": json.dumps(provenance, sort_keys=True)})
    with atomic_path(path) as temporary:
        # Images are large: small row groups let a reader take them some at a time.
        size = 32 if schema is SAMPLES else None
        pq.write_table(table, temporary, compression="zstd", row_group_size=size)


def read_table(
    path: str | os.PathLike[str],
    schema: pa.Schema,
    identity: Mapping[str, str] | None = None,
    columns: list[str] | None = None,
) -> pa.Table:
    """Read a table of ours; refuse another schema, no provenance, or an identity unlike the path's."""
    try:
        table = pq.read_table(path, columns=columns, partitioning=None)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error}). Delete it and run again.") from None
    expected = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    if not table.schema.equals(expected, check_metadata=False):
        raise InputError(f"{path}: columns {_fields(table.schema)} are not the expected {_fields(expected)}.")
    found = provenance_of(table, path).get("identity", {})
    for key, value in (identity or {}).items():
        if found.get(key) != value:
            raise InputError(
                f"{path}: the file says {key} {found.get(key)!r}, its path says {value!r}. "
                "It was moved or mixed up; delete it and run again."
            )
    return table


def _fields(schema: pa.Schema) -> str:
    return "{" + ", ".join(f"{field.name}: {field.type}" for field in schema) + "}"


def provenance_of(table: pa.Table, path: object) -> dict[str, Any]:
    """The provenance JSON of a table read by :func:`read_table`."""
    metadata = table.schema.metadata or {}
    if b"hawk" not in metadata:
        raise InputError(f"{path}: no provenance; this file was not written by hawk.")
    return json.loads(metadata[b"hawk"])


def asked_of(path: str, role: str, name: str) -> dict[str, Any]:
    """What results say about the samples they rest on: where from, which, under which holdout."""
    table = read_table(path, SAMPLES, identity={"role": role, "benchmark": name}, columns=["sample_id"])
    made = provenance_of(table, path).get("settings", {})
    return {key: made.get(key) for key in ("origin", "samples", "holdout")}


def digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 over schema and column values of a parquet file, provenance left out.

    Two runs with equal inputs, versions and seeds give equal digests, whatever their dates.
    """
    table = pq.read_table(path, partitioning=None).replace_schema_metadata(None).combine_chunks()
    state = hashlib.sha256(str(table.schema).encode())
    for name in table.column_names:
        # Values, not buffers: two equal columns may be laid out differently in memory.
        for value in table.column(name).to_pylist():
            state.update(repr(value).encode())
            state.update(b"\x1f")
    return state.hexdigest()
