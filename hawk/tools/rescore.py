"""The step behind ``hawk score``: score saved predictions again, without a model.

A parser's or metric's fix then costs no GPU time, and predictions of another harness can be scored by
the same rules as ours.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawk.benchmarks import Benchmark, benchmark
from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import COUNT, DatasetBenchmark
from hawk.benchmarks.bases.multiple_choice import MultipleChoice
from hawk.benchmarks.custom import Custom
from hawk.benchmarks.rules.metrics import listed
from hawk.core.atomic import write_text
from hawk.core.errors import InputError
from hawk.tools.prediction_files import Prediction, read

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger(__name__)


def score_predictions(
    name: str,
    protocol: str | None,
    predictions: str | Path,
    *,
    samples: str | Path | None = None,
    rows: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Scores of a file of predictions: one result per table in it (ratio × seed), parts sorted.

    ``rows`` names a JSONL to which every row's parsed answer and score are written.
    """
    found, provenance = read(predictions, samples)
    recorded = provenance.get("settings", {}).get("protocol")
    protocol = protocol or recorded or DEFAULT_PROTOCOL
    if recorded and recorded != protocol:
        log.warning("%s was prompted by protocol %s and is scored by %s", predictions, recorded, protocol)
    # Where harnesses differ in the aggregate, the protocol is an option of the benchmark.
    bench = benchmark(name, {**(options or {}), "protocol": protocol})
    bench.check_protocol(protocol)
    if not found:
        raise InputError(f"{predictions}: there is no row.")
    scored = [one(bench, protocol, item, number) for number, item in enumerate(found)]
    table = _table(bench, scored)
    if rows is not None:
        write_text(rows, "".join(json.dumps(_line(row), ensure_ascii=False) + "\n" for row in scored))
    parts = sorted({item.part for item in found}, key=str)
    results = []
    for part in parts:
        inside = table[[item.part == part for item in found]].reset_index(drop=True)
        results.append(result(bench, protocol, inside, dict(part)))
    return results


def one(bench: Benchmark, protocol: str, item: Prediction, number: int) -> dict[str, Any]:
    """A row's sample, parsed answer and score."""
    sample = item.sample or sample_of(bench, item.row, number)
    parsed = bench.parse(item.text, sample, protocol)
    score = 0.0 if parsed is None else float(bench.score(parsed, sample, protocol))
    return {
        "sample_id": sample.sample_id,
        "prediction": item.text,
        "references": list(sample.references),
        "options": list(sample.options) or None,
        "parsed": parsed,
        "score": score,
        "metric_group": sample.metric_group,
        "category": sample.category,
        **dict(item.part),
    }


def sample_of(bench: Benchmark, row: Mapping[str, Any], number: int) -> Sample:
    """The sample that a row of predictions answers, as far as scoring needs it."""
    if isinstance(bench, Custom):
        return bench.from_answer(row, number)
    grouped = isinstance(bench, DatasetBenchmark) and bench.grouped
    if "sample_id" in row and "references" in row and (row.get("metric_group") or not grouped):
        fields = {key: row[key] for key in ("category", "metric_group", "question") if row.get(key)}
        sample = Sample(
            **{"question": "", **fields},
            sample_id=str(row["sample_id"]),
            group_id="",
            references=listed(row["references"]),
            options=listed(row.get("options")),
        )
        if sample.options or not isinstance(bench, MultipleChoice):
            return sample
        return dataclasses.replace(bench.from_answer(row, number), sample_id=sample.sample_id)
    if not isinstance(bench, DatasetBenchmark):
        raise InputError(f"benchmark {bench.name!r}, row {number}: needs 'sample_id' and 'references'.")
    return bench.from_answer(row, number)


def _table(bench: Benchmark, scored: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A score table with complete metric groups declared, so that missing rows are noticed."""
    import pandas as pd

    columns = ["sample_id", "parsed", "score", "metric_group", "category"]
    table = pd.DataFrame([[row[key] for key in columns] for row in scored], columns=columns)
    if isinstance(bench, DatasetBenchmark) and bench.grouped:
        groups = table["metric_group"].astype(str)
        sizes = groups.value_counts()
        table["metric_group"] = [
            one if COUNT in one else f"{one}{COUNT}{bench.expected_rows(int(sizes[one]))}" for one in groups
        ]
    if isinstance(bench, DatasetBenchmark) and table["sample_id"].nunique() < bench.published_rows:
        log.warning("%d of the %d published rows of %s", len(table), bench.published_rows, bench.name)
    return table


def result(bench: Benchmark, protocol: str, table: pd.DataFrame, part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": bench.name,
        "version": bench.version,
        "protocol": protocol,
        **part,
        "value": bench.aggregate(table),
        "native_max": bench.native_max,
        "rows": len(table),
        "unparsed": int(table["parsed"].isna().sum()),
        "report": bench.report(table),
    }


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None or key == "parsed"}
