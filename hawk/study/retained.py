"""Scores of several models on the same images, summed per image, and retention computed from them.

The embedded benchmarks are means over samples, so sums per image are all that retention, its
resamples and the sign-flip test need; models and benchmarks that share images are drawn and flipped
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hawk.analysis.evaluation_files import read_evaluation
from hawk.analysis.resampling import JointGroups, group_codes, group_sums, rng_of
from hawk.core.errors import InputError
from hawk.core.files import read_table
from hawk.core.paths import RunPaths
from hawk.study.develop import FORCED, UNPRUNED, path_of
from hawk.study.evaluate import compared

Condition = tuple[str, str]  # variant, ratio


@dataclass(frozen=True)
class Retained:
    """Per model, condition and benchmark the scores summed per image, ``[groups]``."""

    benchmarks: Sequence[str]
    groups: Sequence[np.ndarray]  # image ids per benchmark, sorted
    samples: Sequence[int]  # per benchmark
    base: Mapping[str, Sequence[np.ndarray]]  # model → per benchmark
    cells: Mapping[str, Mapping[Condition, Sequence[np.ndarray]]]  # model → condition → per benchmark
    joint: JointGroups = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "joint", JointGroups(self.groups))

    @property
    def models(self) -> list[str]:
        return list(self.base)

    def by_benchmark(self, model: str, condition: Condition) -> np.ndarray:
        """Retention in percent on every benchmark."""
        parts = zip(self.cells[model][condition], self.base[model], strict=True)
        return np.array([100.0 * cell.sum() / base.sum() for cell, base in parts])

    def overall(self, models: Sequence[str], condition: Condition) -> float:
        """Mean retention over benchmarks and models."""
        return float(np.mean([self.by_benchmark(model, condition) for model in models]))

    def points(self, model: str) -> np.ndarray:
        """The unpruned model's accuracy in percent on every benchmark."""
        totals = [base.sum() for base in self.base[model]]
        return 100.0 * np.array(totals) / np.array(self.samples)

    def counts(self, resamples: int, seed: int) -> list[np.ndarray]:
        """How often every image is drawn, per benchmark ``[resamples, groups]``."""
        return self.joint.counts(resamples, rng_of(seed, "study", "bootstrap"))

    def draws(
        self, counts: Sequence[np.ndarray], models: Sequence[str], condition: Condition, which: Sequence[int]
    ) -> np.ndarray:
        """Mean retention over the benchmarks ``which`` and models in every resample, ``[resamples]``."""
        found = [
            100.0 * (counts[b] @ self.cells[model][condition][b]) / (counts[b] @ self.base[model][b])
            for model in models
            for b in which
        ]
        return np.mean(found, axis=0)

    def difference(
        self, models: Sequence[str], one: Condition, other: Condition, which: Sequence[int]
    ) -> np.ndarray:
        """Each image's share of the difference in mean retention, ``[union of images]``; they sum to it."""
        total = np.zeros(len(self.joint.union))
        for model in models:
            for b in which:
                gap = self.cells[model][one][b] - self.cells[model][other][b]
                scale = 100.0 / (self.base[model][b].sum() * len(models) * len(which))
                np.add.at(total, self.joint.index[b], scale * gap)
        return total


def read_development(config: Mapping[str, Any], models: Mapping[str, RunPaths]) -> Retained:
    """Every variant that all models have on development images."""

    def one(files: RunPaths, name: str) -> tuple[pd.DataFrame, dict[Condition, np.ndarray], np.ndarray]:
        found: dict[Condition, np.ndarray] = {}
        base = _forced(path_of(files, name, UNPRUNED))
        for path in sorted(Path(path_of(files, name, UNPRUNED)).parent.glob("*.parquet")):
            frame = _forced(str(path))
            for ratio, part in frame.groupby("pruning_ratio", sort=False):
                found[path.stem, str(ratio)] = part["score"].to_numpy()
        return base, found, base["score"].to_numpy()

    return _retained(config, models, one)


def _forced(path: str) -> pd.DataFrame:
    return read_table(path, FORCED).to_pandas()


def read_finals(config: Mapping[str, Any], models: Mapping[str, RunPaths], chosen: Sequence[str]) -> Retained:
    """The finalists of all models, through the checks and the budget audit that any run's tables pass."""
    evaluated = {
        root: {one.name: one for one in read_evaluation(compared(config, RunPaths(root), chosen), root)}
        for root in (files.root for files in models.values())
    }

    def one(files: RunPaths, name: str) -> tuple[pd.DataFrame, dict[Condition, np.ndarray], np.ndarray]:
        bench = evaluated[files.root][name]
        found = {
            (variant, ratio): scored.scores.mean(axis=0)
            for variant, by_ratio in bench.variants.items()
            for ratio, scored in by_ratio.items()
        }
        return bench.samples.frame, found, bench.baseline.scores[0]

    return _retained(config, models, one)


def _retained(
    config: Mapping[str, Any],
    models: Mapping[str, RunPaths],
    read: Callable[[RunPaths, str], tuple[pd.DataFrame, dict[Condition, np.ndarray], np.ndarray]],
) -> Retained:
    names = config["evaluation"]["benchmarks"]
    asked: dict[str, tuple[list[str], np.ndarray, np.ndarray]] = {}
    base: dict[str, list[np.ndarray]] = {model: [] for model in models}
    cells: dict[str, dict[Condition, list[np.ndarray]]] = {model: {} for model in models}
    for model, files in models.items():
        for name in names:
            frame, found, unpruned = read(files, name)
            ids = frame["sample_id"].tolist()
            groups, codes = group_codes(frame["group_id"].tolist())
            first = asked.setdefault(name, (ids, groups, codes))
            if first[0] != ids or not np.array_equal(first[1], groups):
                raise InputError(f"{files.root}: benchmark {name!r} has other samples than the first model.")
            base[model].append(_summed(unpruned, codes, len(groups)))
            for condition, scores in found.items():
                cells[model].setdefault(condition, []).append(_summed(scores, codes, len(groups)))
    for model in models:
        short = [c for c, per in cells[model].items() if len(per) != len(names)]
        if short:
            raise InputError(f"model {model!r}: {short[0][0]!r} was not scored on every benchmark.")
    return Retained(
        benchmarks=names,
        groups=[asked[name][1] for name in names],
        samples=[len(asked[name][0]) for name in names],
        base=base,
        cells=cells,
    )


def _summed(scores: np.ndarray, codes: np.ndarray, groups: int) -> np.ndarray:
    return group_sums(scores[:, None], codes, groups)[:, 0]
