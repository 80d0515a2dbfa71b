"""The step make_tables: the comparison tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hawk.analysis.comparison import RETENTION, compare
from hawk.analysis.controls import CONTROLS
from hawk.analysis.evaluation_files import Evaluated, read_runs
from hawk.analysis.hypotheses import HYPOTHESES, hypothesis_rows
from hawk.core import atomic, files
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.variants import COMPARISON_KEYS, uniform_recipes
from hawk.report import columns
from hawk.report.tables import csv_text, hypotheses_markdown, markdown

READS = ("seed", "data", "generation.protocol", "statistics", "evaluation", "weights.recipes")


def make_tables(config: Mapping[str, Any], root: str, runs: Sequence[str] = ()) -> list[str]:
    """Compare all variants of a run and write ``tables/retention``, ``controls`` and ``hypotheses``.

    As parquet and CSV, and as Markdown but for ``controls``; ``hypotheses`` if the config declares any.
    Returns the paths.
    runs: folders of several runs (models) to compare together; the tables then go below ``root``.
    """
    runs = runs or [root]
    evaluated = read_runs(config, runs)
    rows, controls = compare(config, evaluated)
    paths, first, role = RunPaths(root), RunPaths(runs[0]), config["evaluation"]["role"]
    names = config["evaluation"]["benchmarks"]
    models = [results.settings.get("model") for results in evaluated[:: len(names)]]
    file_provenance = provenance(
        {"table": "retention"},
        statistics=dict(config["statistics"]),
        seed=config["seed"],
        protocol=config["generation"]["protocol"],
        **{key: evaluated[0].settings.get(key) for key in ("model", "geometry", "device", "preprocessing")},
        role=role,
        reference=config["evaluation"].get("reference"),
        rules={key: config["evaluation"].get(key) for key in COMPARISON_KEYS},
        ratios=sorted({row["pruning_ratio"] for row in rows if row["pruning_ratio"] is not None}),
        majority_answer={results.name: results.majority_answer for results in evaluated},
        runs=dict(zip(runs, models, strict=True)),
        data={name: files.sample_provenance(first.samples(role, name), role, name) for name in names},
        uniform_weights=uniform_recipes(config["weights"]["recipes"]),
        variants={
            variant["name"]: {k: v for k, v in variant.items() if k != "name"}
            for variant in config["evaluation"]["variants"]
        },
    )
    out = [paths.table("retention", ending) for ending in ("csv", "md", "parquet")]
    out += [paths.table("controls", ending) for ending in ("csv", "parquet")]
    atomic.write_text(out[3], csv_text(columns.CONTROLS, controls))
    files.write_table(out[4], controls, CONTROLS, {**file_provenance, "identity": {"table": "controls"}})
    atomic.write_text(out[0], csv_text(columns.RETENTION, rows))
    # Through Arrow, so that absent words are None and absent numbers NaN, as when read from the file.
    frame = pa.Table.from_pylist(rows, schema=RETENTION).to_pandas()
    atomic.write_text(out[1], markdown(frame, file_provenance["settings"]))
    files.write_table(out[2], rows, RETENTION, file_provenance)
    return out + _hypotheses(config, evaluated, paths, file_provenance)


def _hypotheses(
    config: Mapping[str, Any],
    evaluated: Sequence[Evaluated],
    paths: RunPaths,
    file_provenance: Mapping[str, Any],
) -> list[str]:
    """Write the declared hypotheses, and remove those of an earlier config that declared some."""
    out = [paths.table("hypotheses", ending) for ending in ("csv", "md", "parquet")]
    rows = hypothesis_rows(config, evaluated)
    if not rows:
        for path in out:
            Path(path).unlink(missing_ok=True)
        return []
    atomic.write_text(out[0], csv_text(columns.HYPOTHESES, rows))
    atomic.write_text(out[1], hypotheses_markdown(rows, file_provenance["settings"]))
    files.write_table(out[2], rows, HYPOTHESES, {**file_provenance, "identity": {"table": "hypotheses"}})
    return out
