"""The comparison tables computed literally, and edits of their files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from hawk.analysis.score_files import benchmark_of
from hawk.core import files, schemas
from hawk.core.paths import RunPaths


def cell(frame: pd.DataFrame, variant: str, ratio: str | None, benchmark: str) -> pd.Series:
    ratios = frame["pruning_ratio"].isna() if ratio is None else frame["pruning_ratio"] == ratio
    rows = frame[(frame["variant"] == variant) & (frame["benchmark"] == benchmark) & ratios]
    assert len(rows) == 1
    return rows.iloc[0]


def change(path: str, edit, schema=schemas.EVALUATION, **settings: Any) -> None:
    table = pq.read_table(path)
    made = files.provenance_of(table, path)
    made["settings"].update(settings)
    files.write_table(path, edit(table.to_pandas()), schema, made)


class Literal:
    """The run's numbers by plain pandas, row by row."""

    def __init__(self, root: str, config: dict[str, Any], name: str) -> None:
        self.paths, self.name = RunPaths(root), name
        self.bench = benchmark_of(config, name, self.paths.baseline(name, "evaluation"))
        samples = pd.read_parquet(self.paths.samples("evaluation", name))
        self.samples = samples[["sample_id", "group_id", "metric_group", "category"]]

    def rows(self, variant: str, ratio: str, seed: int = 0) -> pd.DataFrame:
        if variant == "baseline":
            frame = pd.read_parquet(self.paths.baseline(self.name, "evaluation"))
        else:
            frame = pd.read_parquet(self.paths.evaluation(self.name, variant))
            frame = frame[(frame["pruning_ratio"] == ratio) & (frame["seed"] == seed)]
        return frame.merge(self.samples, on="sample_id")

    def retention(self, variant: str, ratio: str, seeds: int = 1) -> float:
        base = self.bench.aggregate(self.rows("baseline", ""))
        values = [self.bench.aggregate(self.rows(variant, ratio, seed)) for seed in range(seeds)]
        return 100 * float(np.mean(values)) / base
