"""Questions whose answers change with a head, from the score files of an ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hawk.analysis.score_files import read_scores, sample_ids
from hawk.core.errors import InputError
from hawk.core.files import read_table
from hawk.core.heads import Head
from hawk.core.paths import RunPaths
from hawk.core.schemas import SAMPLES

KEPT = 3  # questions of which the prediction is kept, per head and direction: the first ones
SAME = 1e-9  # a smaller difference of two scores is none, as in statistics.win_tie_loss
_QUESTION = ["sample_id", "question", "options", "references"]


@dataclass(frozen=True)
class HeadAnswers:
    """What one head changes. Won: questions that score higher thanks to it; lost: lower because of it."""

    won: int
    lost: int
    # Row of the sample → prediction of the head's run, of the first KEPT questions of each kind.
    first_won: Mapping[int, str]
    first_lost: Mapping[int, str]


@dataclass(frozen=True)
class Answers:
    """One benchmark × ablation: its questions, what the reference run answers, and what heads change."""

    samples: Sequence[Mapping[str, Any]]  # question, options, references
    reference_run: Sequence[str]  # prediction per sample
    heads: Mapping[Head, HeadAnswers]  # those whose score file is there


def read_answers(
    paths: RunPaths, benchmark: str, ablation: str, intervention: str, heads: Sequence[Head]
) -> Answers | None:
    """What each head changes on one benchmark; None where samples or reference run are not there.

    ``keep_only`` has the head alone in its run: a question is won where that run scores higher. The runs of
    all other interventions lack the head: a question is won where the reference run scores higher. So more
    questions won speaks for the head, as a larger drop does.
    Raises InputError for scores of other samples than the reference run's.
    """
    samples_path = paths.samples("calibration", benchmark)
    reference_path = paths.scores(benchmark, ablation, "reference")
    if not (Path(samples_path).is_file() and Path(reference_path).is_file()):
        return None
    role = {"benchmark": benchmark, "role": "calibration"}
    samples = read_table(samples_path, SAMPLES, role, _QUESTION)
    ids = sample_ids(samples)

    def run(name: str) -> tuple[np.ndarray, list[str]]:
        path = paths.scores(benchmark, ablation, name)
        identity = {**role, "ablation": ablation, "name": name}
        table, _ = read_scores(path, identity, ["sample_id", "score", "prediction"])
        if not sample_ids(table).equals(ids):
            raise InputError(f"{path}: scores of other samples than those of {samples_path}. Run again.")
        return table.column("score").to_numpy(), table.column("prediction").to_pylist()

    reference, predicted = run("reference")
    sign = -1.0 if intervention == "keep_only" else 1.0
    changed = {}
    for head in heads:
        if Path(paths.scores(benchmark, ablation, str(head))).is_file():
            scores, predictions = run(str(head))
            changed[head] = _compare(sign * (reference - scores), predictions)
    return Answers(samples.select(_QUESTION[1:]).to_pylist(), predicted, changed)


def _compare(gain: np.ndarray, predictions: Sequence[str]) -> HeadAnswers:
    """gain: ``[samples]``, what the head adds to each question's score."""
    won, lost = np.flatnonzero(gain > SAME), np.flatnonzero(gain < -SAME)

    def first(rows: np.ndarray) -> dict[int, str]:
        return {row: predictions[row] for row in rows[:KEPT].tolist()}

    return HeadAnswers(len(won), len(lost), first(won), first(lost))
