"""``hawk export heads``: what heads are worth, in files that other tools read.

- ``csv``: a line per head and benchmark, numbers as they are.
- ``headkv``: JSON ``{"layer-head": [score, …]}`` on one line, as the detector of retrieval heads
  (arXiv:2404.15574) writes and HeadKV (arXiv:2410.19258) reads it; readers take the mean of a head's list.
  Its scores here are drops as shares (points / 100), one per benchmark, or weights.
- ``duoattention``: ``full_attention_heads.tsv`` of DuoAttention (arXiv:2410.10819), layers × key-value heads,
  each from 0 to 1; kvpress reads it too. A key-value head is worth as much as the best of its query heads;
  values are shares of the largest, and negative ones are 0. Readers compare every head of the model: layers
  that were not measured are written as 0, and the command says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hawk.core import atomic
from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry, Head
from hawk.core.paths import RunPaths
from hawk.report.run import read_drops

FORMATS = ("csv", "duoattention", "headkv")


@dataclass
class HeadScores:
    """Scores of heads, by head and benchmark, and the table that they come from."""

    table: pd.DataFrame
    scores: Mapping[Head, Mapping[str, float]]
    geometry: Geometry | None  # None: no file here says how many key-value heads there are
    notes: list[str] = field(default_factory=list)

    def mean(self, head: Head) -> float:
        return float(np.mean(list(self.scores[head].values())))


def export_heads(source: str, kind: str, output: str, ablation: str | None = None) -> list[str]:
    """Write ``output``; returns what its reader must know.

    source: a run's folder, whose drops are written, or a head-weights file (or shipped name, or Hub id).
    ablation: whose drops, by its recipe's name; by default the first by name.
    """
    if kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    if Path(source).is_dir():
        RunPaths(source).refuse_own("--output", output)
    atomic.refuse_overwriting("--output", output, source)
    heads = _of_run(source, ablation) if Path(source).is_dir() else _of_weights(source, ablation)
    text = {"csv": _csv, "duoattention": _duoattention, "headkv": _headkv}[kind](heads)
    atomic.write_text(output, text)
    return heads.notes


def _of_run(root: str, ablation: str | None) -> HeadScores:
    paths = RunPaths(root.rstrip("/"))
    names = sorted(path.stem for path in Path(paths.drops("any")).parent.glob("*.parquet"))
    if not names:
        raise InputError(f"{root}: it holds no drops/*.parquet; `hawk head-drops` makes them.")
    chosen = names[0] if ablation is None else ablation
    if chosen not in names:
        raise unknown("ablation", chosen, names)
    rows = read_drops(paths, chosen).to_pandas()
    if rows["estimate"].any():
        raise InputError(
            f"{paths.drops(chosen)}: estimates of drops in the margin; only measured drops are exported. "
            "Name another ablation with --ablation."
        )
    scores: dict[Head, dict[str, float]] = {}
    for row in rows.to_dict("records"):
        scores.setdefault(Head(row["layer"], row["head"]), {})[row["benchmark"]] = row["drop"] / 100.0
    weights = next(iter(sorted(Path(root).glob("head_weights/*/*.json"))), None)
    geometry = None if weights is None else HeadWeights.load(weights).geometry
    notes = [f"drops of {chosen}"]
    if ablation is None and len(names) > 1:
        notes[0] += f"; --ablation takes also {', '.join(name for name in names if name != chosen)}"
    return HeadScores(rows, scores, geometry, notes)


def _of_weights(source: str, ablation: str | None) -> HeadScores:
    if ablation is not None:
        raise InputError("--ablation is for a run's folder; a head-weights file is of one ablation.")
    weights = HeadWeights.load(source)
    columns = {"pooled": weights.weights, **weights.per_benchmark}
    rows: list[dict[str, Any]] = [
        {"layer": weights.layer, "head": head, "benchmark": name, "weight": values[head]}
        for name, values in columns.items()
        for head in range(len(values))
    ]
    scores = {Head(weights.layer, head): {"pooled": value} for head, value in enumerate(weights.weights)}
    return HeadScores(pd.DataFrame(rows), scores, weights.geometry, [f"weights, {weights.intervention}"])


def _csv(heads: HeadScores) -> str:
    return heads.table.to_csv(index=False, lineterminator="\n")


def _headkv(heads: HeadScores) -> str:
    lists = {f"{head.layer}-{head.index}": [*found.values()] for head, found in sorted(heads.scores.items())}
    return json.dumps(lists, allow_nan=False) + "\n"


def _duoattention(heads: HeadScores) -> str:
    shape = heads.geometry
    if shape is None:
        raise InputError(
            "duoattention needs the number of key-value heads, which a run's head weights say; "
            "make them first, or choose csv or headkv."
        )
    grid = np.zeros((shape.layers, shape.heads))
    for head in heads.scores:
        shape.check(head)
        grid[head.layer, head.index] = max(0.0, heads.mean(head))
    if missing := sorted(set(range(shape.layers)) - {head.layer for head in heads.scores}):
        heads.notes.append(f"layers that were not measured are written as 0: {', '.join(map(str, missing))}")
    groups = grid.reshape(shape.layers, shape.kv_heads, -1).max(axis=2)
    shares = groups / (groups.max() or 1.0)
    return "".join("\t".join(f"{value:.10f}" for value in line) + "\n" for line in shares)
