"""Saved predictions as rows: our score tables, JSONL, and VLMEvalKit's xlsx and tsv."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.dataset import HARNESS
from hawk.benchmarks.rules.cells import shown
from hawk.benchmarks.sources.tables import once_each
from hawk.core.errors import InputError, unknown
from hawk.core.files import provenance_of, read_table
from hawk.core.schemas import EVALUATION, SAMPLES, SCORES
from hawk.core.values import json_lines, refuse

ENDINGS = (".parquet", ".jsonl", ".xlsx", ".tsv")


@dataclass(frozen=True)
class Prediction:
    """A model's text, and the sample it answers or a row to make that from."""

    text: str
    row: Mapping[str, Any] = field(default_factory=dict)
    sample: Sample | None = None
    part: tuple[tuple[str, Any], ...] = ()  # what tells tables in one file apart: ratio, seed


def read(path: str | Path, samples: str | Path | None = None) -> tuple[list[Prediction], dict[str, Any]]:
    """The predictions of a file in file order, and its provenance if it is ours."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _read_ours(path, samples)
    if samples is not None:
        raise InputError(
            f"--samples goes with a parquet file of a run; {path.name} holds its own references."
        )
    if ending == ".jsonl":
        return list(_read_jsonl(path)), {}
    if ending not in ENDINGS:
        raise unknown("kind of predictions file", ending or path.name, ENDINGS)
    try:
        once_each(_header(path), path)
        table = read_xlsx(path) if ending == ".xlsx" else read_tsv(path)
    except InputError:
        raise
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:  # pandas and openpyxl
        raise InputError(f"{path}: not a readable {ending[1:]} file ({error}).") from None
    if "prediction" not in table.columns:
        raise InputError(f"{path}: no column 'prediction'. It has: {', '.join(map(str, table.columns))}.")
    for name in table.columns.intersection(["answer", "answers"]):  # text as well, upstream
        table[name] = [str(value) for value in table[name]]
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return [Prediction(str(row["prediction"]), {**row, HARNESS: True}) for row in records], {}


def _header(path: Path) -> list[object]:
    """The column names as written; pandas numbers those that are there twice."""
    first = {"header": None, "nrows": 1, "dtype": str}
    if path.suffix.lower() == ".xlsx":
        table = pd.read_excel(path, **first)
    else:
        table = pd.read_csv(path, sep="\t", **first)
    return table.iloc[0].tolist() if len(table) else []


# --- VLMEvalKit ----------------------------------------------------------------------------------
def read_xlsx(file: str | Path | IO[bytes]) -> pd.DataFrame:
    """As upstream reads it before scoring: None, NA, nan, null and empty answers become "nan"."""
    return _as_text(pd.read_excel(file))


def read_tsv(file: str | Path) -> pd.DataFrame:
    return _as_text(pd.read_csv(file, sep="\t"))


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    if "prediction" in table.columns:
        table["prediction"] = [str(value) for value in table["prediction"]]
    return table


# --- JSONL ---------------------------------------------------------------------------------------
def _read_jsonl(path: Path) -> Iterator[Prediction]:
    for where, row in json_lines(path):
        if not _is_answer(row.get("prediction")):
            raise InputError(f"{where}: needs an object with a text 'prediction'.")
        name = row.get("sample_id")
        if name is not None and (isinstance(name, bool) or not isinstance(name, str | int)):
            raise refuse(f"{where}: sample_id", name, "a text or a whole number")
        if "references" in row:
            _check_references(row["references"], where)
        yield Prediction(str(row["prediction"]), row)


def _is_answer(value: object) -> bool:
    """A text, or a number that is one."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _check_references(value: object, where: str) -> None:
    good = isinstance(value, str) or (isinstance(value, list) and value and all(map(_is_item, value)))
    if not good:
        raise InputError(f"{where}: references is {shown(value)}; a list of texts is allowed, or one text.")


def _is_item(value: object) -> bool:
    return value is None or _is_answer(value)


# --- ours ----------------------------------------------------------------------------------------
def _read_ours(path: Path, samples: str | Path | None) -> tuple[list[Prediction], dict[str, Any]]:
    try:
        schema = EVALUATION if "pruning_ratio" in pq.read_schema(path).names else SCORES
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error}).") from None
    table = read_table(path, schema)
    provenance = provenance_of(table, path)
    identity = provenance.get("identity", {})
    known = read_samples(samples or samples_of(path, identity), identity.get("benchmark"))
    result = []
    for row in table.to_pylist():
        if row["sample_id"] not in known:
            raise InputError(f"{path}: sample {row['sample_id']!r} is not among the samples.")
        if row["prediction"] is None:
            raise InputError(f"{path}: sample {row['sample_id']!r} has no prediction.")
        part = {key: row[key] for key in ("pruning_ratio", "seed") if key in row}
        result.append(Prediction(row["prediction"], row, known[row["sample_id"]], tuple(part.items())))
    return result, provenance


def samples_of(path: Path, identity: Mapping[str, str]) -> Path:
    """The samples that a score table of a run was made from, by the run's layout."""
    benchmark = identity.get("benchmark")
    role = identity.get("role") or ("calibration" if "scores" in path.parts else "evaluation")
    for folder in path.resolve().parents:
        path_of_samples = folder / "samples" / str(role) / f"{benchmark}.parquet"
        if path_of_samples.is_file():
            return path_of_samples
    raise InputError(
        f"{path}: its samples (samples/{role}/{benchmark}.parquet) are in no folder above it; "
        "name the file with --samples."
    )


def read_samples(path: str | Path, name: str | None = None) -> dict[str, Sample]:
    """Samples by id, without their images; ``name`` is the benchmark that they must be of."""
    columns = [name for name in SAMPLES.names if name not in ("images", "video", "relevant")]
    table = read_table(path, SAMPLES, columns=columns)
    benchmark_of_file = provenance_of(table, path).get("identity", {}).get("benchmark")
    if name is not None and benchmark_of_file is not None and benchmark_of_file != name:
        raise InputError(
            f"{path}: samples of benchmark {benchmark_of_file!r}; the predictions are of {name!r}."
        )
    return {
        row["sample_id"]: Sample(
            **{**row, "options": tuple(row["options"] or ()), "references": tuple(row["references"] or ())}
        )
        for row in table.to_pylist()
    }
