"""The parquet contracts between steps: schemas, atomic writes, reads with checks, digests, locks.

Every table carries its provenance as JSON under the schema metadata key ``hawk``. Inside it,
``identity`` repeats the names that the path carries (role, benchmark, intervention, head,
variant); readers check that both agree, so that a file moved by hand is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.core import values
from hawk.core.atomic import atomic_path
from hawk.core.errors import InputError
from hawk.core.schemas import SAMPLES
from hawk.core.settings_checks import check_settings
from hawk.core.table_checks import problem


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
    expected = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    try:
        schema_in_file = pq.read_schema(path)
        missing = [name for name in expected.names if name not in schema_in_file.names]
        if missing and b"hawk" in (schema_in_file.metadata or {}) and set(schema_in_file) < set(schema):
            raise InputError(
                f"{path}: of an earlier version of hawk; it has no column {', '.join(missing)}. "
                "Delete it and run again."
            )
        table = pq.read_table(path, columns=None if missing else columns, partitioning=None)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: not a readable parquet file ({reason}). Delete it and run again."
        ) from None
    if not table.schema.equals(expected, check_metadata=False):
        raise InputError(f"{path}: columns {_fields(table.schema)} are not the expected {_fields(expected)}.")
    identity_in_file = provenance_of(table, path)["identity"]
    for key, value in (identity or {}).items():
        if identity_in_file.get(key) != value:
            raise InputError(
                f"{path}: the file says {key} {identity_in_file.get(key)!r}, its path says {value!r}. "
                "It was moved or mixed up; delete it and run again."
            )
    bad = problem(table, schema)
    if bad is not None:
        raise InputError(f"{path}, {bad}")
    return table


def _fields(schema: pa.Schema) -> str:
    return "{" + ", ".join(f"{field.name}: {field.type}" for field in schema) + "}"


def provenance_of(table: pa.Table, path: object) -> dict[str, Any]:
    """The provenance JSON of a table read by :func:`read_table`."""
    metadata = table.schema.metadata or {}
    if b"hawk" not in metadata:
        raise InputError(f"{path}: no provenance; this file was not written by hawk.")
    return parse_provenance(metadata[b"hawk"], path)


def parse_provenance(raw: bytes, path: object) -> dict[str, Any]:
    """The provenance block of a file, with its parts ``identity`` and ``settings``; else an InputError."""
    complaint = f"{path}: its provenance is damaged; delete it and run again"
    try:
        block = values.mapping(values.parse_json(raw, complaint), "the block")
        parts = {key: values.mapping(block.get(key, {}), key) for key in ("identity", "settings")}
        check_settings(parts["settings"])
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(complaint) else f"{complaint}: {text}") from None
    return {**block, **parts}


def made_by_job(path: str | os.PathLike[str]) -> str | None:
    """The hash of the config of the job that wrote a file; None if the file does not tell."""
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            block = json.loads((pq.read_schema(path).metadata or {})[b"hawk"])
        elif path.suffix == ".safetensors":
            with open(path, "rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                block = json.loads(json.loads(file.read(length))["__metadata__"]["hawk"])
        elif path.suffix == ".json":
            block = json.loads(path.read_text(encoding="utf-8"))["provenance"]
        else:
            return None
        return block.get("job")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, pa.ArrowException):
        return None


def sample_provenance(path: str, role: str, name: str) -> dict[str, Any]:
    """What results say about the samples they rest on: where from, which, under which holdout."""
    table = read_table(path, SAMPLES, identity={"role": role, "benchmark": name}, columns=["sample_id"])
    settings = provenance_of(table, path)["settings"]
    return {key: settings.get(key) for key in ("origin", "samples", "holdout")}


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
