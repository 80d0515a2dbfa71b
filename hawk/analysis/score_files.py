"""Read score tables fast and check that each is what its path says, over exactly the expected samples.

A run has up to 50,000 score files (benchmarks × ablations × heads), so this reads only the
columns that statistics need, with one plain file read per table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hawk.analysis.resampling import group_codes, group_sums
from hawk.benchmarks import benchmark as get_benchmark
from hawk.benchmarks.base import Benchmark, Sample
from hawk.core.errors import InputError
from hawk.core.files import parse_provenance, provenance_of, read_table
from hawk.core.schemas import SAMPLES, SCORES
from hawk.core.table_checks import problem
from hawk.core.values import shown


def benchmark_of(config: Mapping[str, Any], name: str, scores: str) -> Benchmark:
    """A run's benchmark, told whose rules its aggregate follows: those that ``scores`` were made by.

    Read from the score file and not from the config, so that old scores are never aggregated by
    the rules of another harness.
    """
    options = dict(config.get("data", {}).get(name) or {})
    protocol = read_scores(scores, {"benchmark": name}, ["sample_id"])[1].get("settings", {}).get("protocol")
    if protocol is not None:
        options["protocol"] = protocol
    return get_benchmark(name, options)


SAMPLE_COLUMNS = ["sample_id", "group_id", "metric_group", "category"]
# Read in any case, to be checked together.
_CHECKED = (
    "sample_id", "parsed", "score", "reference_logprob", "margin",
    "prompt_tokens", "visual_tokens", "kept_tokens",
)  # fmt: skip
SCORE_COLUMNS = ["sample_id", "prediction", "parsed", "score", "reference_logprob"]


@dataclass(frozen=True)
class SampleIndex:
    """The samples of one role of one benchmark: their ids, groups, and what the aggregate needs."""

    path: str
    benchmark: Benchmark
    frame: pd.DataFrame  # SAMPLE_COLUMNS in file order, and empty score columns
    ids: pa.Array
    groups: np.ndarray  # distinct group ids, sorted
    codes: np.ndarray  # row → index of its group
    requested: int | None = None  # samples that were asked for; None: all

    @classmethod
    def read(cls, path: str, benchmark: Benchmark, identity: Mapping[str, str]) -> SampleIndex:
        table = read_table(path, SAMPLES, identity, SAMPLE_COLUMNS)
        if table.num_rows == 0:
            raise InputError(f"{path}: benchmark {benchmark.name!r} has no sample.")
        frame = table.to_pandas()
        if frame["sample_id"].duplicated().any():
            twice = frame.loc[frame["sample_id"].duplicated(), "sample_id"].iloc[0]
            raise InputError(f"{path}: sample_id {twice!r} occurs twice; ids must be unique.")
        groups, codes = group_codes(frame["group_id"].to_numpy())
        # Room for the columns of a score table: replacing one is much faster than inserting it.
        frame = frame.assign(score=np.nan, parsed=None)
        requested = provenance_of(table, path).get("settings", {}).get("requested")
        return cls(path, benchmark, frame, _array(table.column("sample_id")), groups, codes, requested)

    def sums(self, scores: pa.Table) -> np.ndarray:
        """A run's contributions added up per group, ``[groups, sums]``; rows in file order.

        Called once per score file, so the strings of ``parsed`` stay in Arrow: turning them into
        Python objects would take most of the time.
        """
        rows = self.frame.copy(deep=False)
        rows["score"] = scores.column("score").to_numpy()
        rows["parsed"] = pd.arrays.ArrowExtensionArray(scores.column("parsed"))
        return group_sums(self.benchmark.contributions(rows), self.codes, len(self.groups))

    @cached_property
    def questions(self) -> list[Sample]:
        """The samples as their parser and metric need them, without images."""
        columns = [name for name in SAMPLES.names if name not in ("images", "video", "split")]
        rows = read_table(self.path, SAMPLES, columns=columns).to_pylist()
        return [
            Sample(
                **{
                    **row,
                    "references": tuple(row["references"] or ()),
                    "options": tuple(row["options"] or ()),
                }
            )
            for row in rows
        ]

    @cached_property
    def _parsed_predictions(self) -> dict[tuple[int, str | None], tuple[str | None, float]]:
        return {}

    def recompute(self, scores: pa.Table, settings: Mapping[str, Any], path: str) -> None:
        """Refuse a row whose parsed answer or score is not what its prediction gives.

        scores: rows in the samples' order, with ``prediction``. settings: those of its provenance. Scores by
        another version of the benchmark's rules cannot be computed again, and are left alone.
        """
        if settings.get("benchmark_version") != self.benchmark.version or "protocol" not in settings:
            return
        known, protocol = self._parsed_predictions, settings["protocol"]
        rows = zip(
            *(scores.column(key).to_pylist() for key in ("prediction", "parsed", "score")), strict=True
        )
        for number, (prediction, parsed, score) in enumerate(rows):
            expected = known.get((number, prediction))
            if expected is None:  # heads say mostly the same: it is parsed once
                sample = self.questions[number]
                word = self.benchmark.parse(prediction, sample, protocol)
                points = 0.0 if word is None else float(self.benchmark.score(word, sample, protocol))
                expected = known[number, prediction] = (word, points)
            if parsed != expected[0] or abs(score - expected[1]) > 1e-9:
                raise InputError(
                    f"{path}, row {number} (sample {shown(self.questions[number].sample_id)}): prediction "
                    f"{shown(prediction)} is parsed as {shown(expected[0])} and scores {expected[1]:g}; the "
                    f"file has {shown(parsed)} and {score:g}. Delete it and run again."
                )

    def require(self, ids: pa.Array, path: str) -> None:
        """Refuse scores of other samples, or of the same in another order."""
        if ids.equals(self.ids):
            return
        raise InputError(f"{path}: {_difference(self.ids, ids)} (samples: {self.path}).")


def read_scores(
    path: str,
    identity: Mapping[str, str],
    columns: Sequence[str] = tuple(SCORE_COLUMNS),
    schema: pa.Schema = SCORES,
) -> tuple[pa.Table, dict[str, Any]]:
    """Columns of a score table and its provenance; refuses a file that contradicts its path.

    The same checks as :func:`hawk.core.files.read_table` at a third of its time per file.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if not file.schema_arrow.equals(schema, check_metadata=False):
                return _slow(path, identity, columns, schema)
            table = file.read(columns=[*{*columns, *_CHECKED}], use_threads=False)
            raw = (file.metadata.metadata or {}).get(b"hawk")
    except (OSError, pa.ArrowInvalid):
        return _slow(path, identity, columns, schema)
    if raw is None:
        return _slow(path, identity, columns, schema)
    provenance = parse_provenance(raw, path)
    identity_in_file = provenance["identity"]
    if any(identity_in_file.get(key) != value for key, value in identity.items()):
        return _slow(path, identity, columns, schema)
    bad = problem(table, schema)
    if bad is not None:
        raise InputError(f"{path}, {bad}")
    return table.select(list(columns)), provenance


def _slow(
    path: str, identity: Mapping[str, str], columns: Sequence[str], schema: pa.Schema
) -> tuple[pa.Table, dict[str, Any]]:
    # Something is wrong with this file: the ordinary reader says what, in its own words.
    read_table(path, schema, identity)
    table = read_table(path, schema, identity, list(columns))
    return table, provenance_of(table, path)


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def sample_ids(table: pa.Table) -> pa.Array:
    return _array(table.column("sample_id"))


def _difference(expected: pa.Array, present: pa.Array) -> str:
    want, have = expected.to_pylist(), present.to_pylist()
    if sorted(want) == sorted(have):
        row = next(i for i, (a, b) in enumerate(zip(want, have, strict=True)) if a != b)
        return f"the same samples in another order (row {row} is {have[row]!r}, not {want[row]!r})"
    missing = [sample_id for sample_id in want if sample_id not in set(have)]
    extra = [sample_id for sample_id in have if sample_id not in set(want)]
    text = f"{len(have)} rows for {len(want)} samples"
    if missing:
        text += f"; {len(missing)} missing, the first {missing[0]!r}"
    if extra:
        text += f"; {len(extra)} unknown, the first {extra[0]!r}"
    return text


def require_one_setting(value_by_path: Mapping[str, Any], key: str) -> Any:
    """The one value that all files (path → value) agree on; InputError naming two that differ."""
    first = next(iter(value_by_path))
    for path, value in value_by_path.items():
        if value != value_by_path[first]:
            raise InputError(
                f"{path}: {key} {value!r}, but {first} has {value_by_path[first]!r}. "
                f"Results with different {key} cannot be compared; delete the older and run again."
            )
    return value_by_path[first]


def shared_setting(settings: Mapping[str, Any], key: str) -> Any:
    """A setting as far as it must be shared: any GPU of a node is as good as another."""
    value = settings.get(key)
    if key in ("scoring", "token_score"):  # nothing of the kind where no token was scored
        return value or None
    if key == "device" and value is not None:
        return str(value).split(":")[0]
    return 1 if key == "rows_per_batch" and value is None else value
