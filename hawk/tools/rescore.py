"""The step behind ``hawk score``: score saved predictions again, without a model.

A parser's or metric's fix then costs no GPU time, and predictions of another harness can be scored by
the same rules as ours.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hawk.benchmarks import Benchmark, benchmark
from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import COUNT, HARNESS, DatasetBenchmark
from hawk.benchmarks.bases.multiple_choice import MultipleChoice
from hawk.benchmarks.custom import Custom
from hawk.benchmarks.rules.cells import is_empty, options, text
from hawk.core.atomic import check_output, refuse_overwriting, write_text
from hawk.core.errors import InputError
from hawk.tools.prediction_files import Prediction, read

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
    if rows is not None:
        check_output(rows)
        refuse_overwriting("--rows", rows, *(file for file in (predictions, samples) if file is not None))
    predicted, provenance = read(predictions, samples)
    recorded = provenance.get("settings", {}).get("protocol")
    protocol = protocol or recorded or DEFAULT_PROTOCOL
    if recorded and recorded != protocol:
        log.warning("%s was prompted by protocol %s and is scored by %s", predictions, recorded, protocol)
    # Where harnesses differ in the aggregate, the protocol is an option of the benchmark.
    bench = benchmark(name, {**(options or {}), "protocol": protocol})
    bench.check_protocol(protocol)
    if not predicted:
        raise InputError(f"{predictions}: there is no row.")
    written_for = provenance.get("identity", {}).get("benchmark")
    if written_for not in (None, name):
        raise InputError(
            f"{predictions}: predictions for benchmark {written_for!r}; --benchmark is {name!r}."
        )
    scored = [scored_row(bench, protocol, item, number) for number, item in enumerate(predicted)]
    refuse_doubled(bench, predicted, scored, str(predictions))
    table = _table(bench, scored)
    if rows is not None:
        write_text(rows, "".join(json.dumps(_line(row), ensure_ascii=False) + "\n" for row in scored))
    parts = sorted({item.part for item in predicted}, key=str)
    results = []
    for part in parts:
        inside = table[[item.part == part for item in predicted]].reset_index(drop=True)
        results.append(result(bench, protocol, inside, dict(part)))
    return results


def scored_row(bench: Benchmark, protocol: str, item: Prediction, number: int) -> dict[str, Any]:
    """A row's sample, parsed answer and score."""
    sample = item.sample
    if sample is None:
        sample = sample_of(bench, item.row, number)
        if not item.row.get(HARNESS):
            bench.check_reachable(sample, protocol)
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
    if isinstance(bench, DatasetBenchmark) and not _is_ours(bench, row):
        sample = bench.from_answer(row, number)
        category = text(row.get("category"))
        return sample if sample.category or not category else dataclasses.replace(sample, category=category)
    if is_empty(row.get("sample_id")) or is_empty(row.get("references")):
        raise InputError(f"benchmark {bench.name!r}, row {number}: needs 'sample_id' and 'references'.")
    sample_id = str(row["sample_id"])
    try:
        choices = options(row.get("options"))
        references = bench.as_references(row["references"], choices)
    except InputError as error:
        raise InputError(f"benchmark {bench.name!r}, sample {sample_id!r}: {error}") from None
    return Sample(
        sample_id=sample_id,
        group_id="",
        question=text(row.get("question")) or "",
        references=references,
        options=choices,
        category=text(row.get("category")),
        metric_group=text(row.get("metric_group")),
    )


def _is_ours(bench: DatasetBenchmark, row: Mapping[str, Any]) -> bool:
    """A line as ``--rows`` writes it: all that is known of the sample, none of the dataset's own columns."""
    needed = ["sample_id", "references"]
    needed += ["metric_group"] if bench.grouped else []
    needed += ["options"] if isinstance(bench, MultipleChoice) else []
    needed += ["parsed", "category"] if bench.needs_every_category and not bench.grouped else []
    if any(column not in row or (column != "parsed" and is_empty(row[column])) for column in needed):
        return False
    metric_columns = {*bench.columns, *bench.tsv_columns} - {
        "question",
        "options",
        "category",
        "image",
        "index",
    }
    return not any(not is_empty(row.get(column)) for column in metric_columns)


def refuse_doubled(
    bench: Benchmark, predicted: Sequence[Prediction], scored: Sequence[Mapping[str, Any]], where: str
) -> None:
    """Refuse a question that occurs twice in a table: it would count twice.

    Rows without an id of their own are told apart by what they hold. Equal ones are doubled if a column
    names their image, or if there are more rows than the benchmark has; else they are reported.
    """
    seen: Counter[tuple[object, ...]] = Counter()
    for item, row in zip(predicted, scored, strict=True):
        seen[item.part, bench.identity(row["sample_id"])] += 1
    doubled = [str(sample_id) for (_, sample_id), count in seen.items() if count > 1]
    if doubled:
        raise InputError(
            f"{where}: {_named(doubled)} more than once; every question counts once. Remove the doubled rows."
        )
    numbers: dict[str, int] = {}
    equal = []
    for number, (item, row) in enumerate(zip(predicted, scored, strict=True)):
        if item.sample is None and row["sample_id"] == str(number) and not is_empty(item.row.get("question")):
            cells = {
                column: cell for column, cell in item.row.items() if column not in ("prediction", "image")
            }
            first = numbers.setdefault(json.dumps(cells, sort_keys=True, default=str), number)
            if first != number:
                equal.append((first, number))
    if not equal:
        return
    text = f"row {equal[0][1]} is row {equal[0][0]} again, and {len(equal) - 1} more like it"
    too_many = isinstance(bench, DatasetBenchmark) and len(predicted) > bench.published_rows
    row = predicted[equal[0][1]].row
    if too_many or not all(
        is_empty(row.get(column)) for column in ("image_path", "video_path", "video_name")
    ):
        raise InputError(f"{where}: {text}; every question counts once. Remove the doubled rows.")
    log.warning("%s: %s, but for the prediction; without an id each counts as another question.", where, text)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{', '.join(map(repr, names[:8]))}{more}"


def _table(bench: Benchmark, scored: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A score table with complete metric groups declared, so that missing rows are noticed."""
    columns = ["sample_id", "parsed", "score", "metric_group", "category"]
    table = pd.DataFrame([[row[key] for key in columns] for row in scored], columns=columns)
    if isinstance(bench, DatasetBenchmark) and bench.grouped:
        groups = table["metric_group"].astype(str)
        uncounted: dict[str, list[tuple[str, int]]] = {}
        for group, row in zip(groups, scored, strict=True):
            if COUNT not in group:
                member = (row["sample_id"], len(row["options"] or ()))
                uncounted.setdefault(group, []).append(member)
        bench.check_complete(uncounted, len(table))
        sizes = groups.value_counts()
        table["metric_group"] = [
            group if COUNT in group else f"{group}{COUNT}{bench.expected_rows(int(sizes[group]))}"
            for group in groups
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
