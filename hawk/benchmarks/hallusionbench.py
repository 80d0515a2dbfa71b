"""HallusionBench: yes/no questions about figures; mean of question, figure and group accuracy.

VLMEvalKit ``image_yorn.py``, ``utils/yorn.py:Hallusion_rating``. aAcc counts questions, fAcc figures
with every question right, qAcc questions that are right on every figure they are asked about.
lmms-eval asks a GPT judge, so its protocol is refused. VLMEvalKit adds no "yes or no" to the
question, so verbose answers are unreadable and count as wrong; the share of them is worth a look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import LEVEL, DatasetBenchmark, check_groups
from hawk.benchmarks.rules.metrics import UNKNOWN, yes_no_answer, yes_or_no
from hawk.benchmarks.rules.protocols import LMMS_EVAL, MS_VLMEVAL, SINGLE_WORD, VLMEVALKIT, YES_NO
from hawk.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class HallusionBench(DatasetBenchmark):
    name: ClassVar[str] = "hallusionbench"
    family: ClassVar[str] = "hallusionbench"
    grouped: ClassVar[bool] = True
    keys: ClassVar[tuple[str, ...]] = ("index", "question_id")
    protocols: ClassVar[tuple[str, ...]] = (VLMEVALKIT, MS_VLMEVAL)
    refused: ClassVar[Mapping[str, str]] = {
        LMMS_EVAL: "its metric asks a GPT judge, which is not approximated. "
        "Use vlmevalkit or ms-vlmeval-0.0.18."
    }
    hub_id: ClassVar[str] = "lmms-lab-encoder/HallusionBench"
    hub_split: ClassVar[str] = "image"
    columns: ClassVar[tuple[str, ...]] = (
        "category",
        "subcategory",
        "set_id",
        "figure_id",
        "question_id",
        "question",
        "gt_answer",
        "image",
    )
    tsv: ClassVar[str | None] = "HallusionBench"
    tsv_columns: ClassVar[tuple[str, ...]] = ("index", "question", "answer", "category", "l2-category")
    published_rows: ClassVar[int] = 951
    licence: ClassVar[str] = "BSD-3-Clause (original)"

    # --- data ---------------------------------------------------------------------------------
    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        names = ("category", "subcategory", "set_id", "figure_id", "question_id")
        # The same six fields as VLMEvalKit's index.
        sample_id = "_".join([str(number), *(str(row[name]) for name in names)])
        return self._sample(row, sample_id, "gt_answer")

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self._sample(row, str(row["index"]), "answer")

    def _sample(self, row: Mapping[str, Any], sample_id: str, column: str) -> Sample:
        category, kind, set_id, _, _ = keys(sample_id)
        return self.sample(
            row,
            sample_id,
            str(row["question"]),
            category=LEVEL.join([category, f"{category}_{kind}"]),
            # A set holds its figures and its question groups, which cross, so it stays whole.
            metric_group=f"{category}_{kind}_{set_id}",
            answer=column,
        )

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        """The Hub's table writes 1 and 0, VLMEvalKit's Yes and No."""
        return (yes_no_answer(value, {"1": "Yes", "0": "No"}),)

    def wrong_answers(self, sample: Sample) -> tuple[str, ...]:
        return tuple(word for word in ("Yes", "No") if word not in sample.references)

    def identity(self, sample_id: str) -> str:
        """The row's number, with which an index begins, is no part of it."""
        return "_".join(keys(sample_id))

    def lacking(self, members: Sequence[tuple[str, int]], rows: int) -> list[str]:
        """In a part of the benchmark: the questions that a set asks about one figure and not about another.

        Which rows a set has, only the whole benchmark tells.
        """
        if rows >= self.published_rows:
            return []
        fields = [keys(sample_id) for sample_id, _ in members]
        figures, questions = ({parts[place] for parts in fields} for place in (3, 4))
        there = {parts[3:] for parts in fields}
        return [
            "_".join((*fields[0][:3], figure, question))
            for figure in sorted(figures)
            for question in sorted(_without_gaps(questions))
            if (figure, question) not in there
        ]

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        if self.style == "qwen":
            return f"{sample.question} {YES_NO}"
        if self.style == "internvl":
            return f"{sample.question} {YES_NO} {SINGLE_WORD}"
        return sample.question

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        self.check_protocol(protocol)
        word = yes_or_no(prediction)
        return None if word == UNKNOWN else word

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """Right questions, questions, right figures, figures, right groups, groups."""
        import numpy as np

        check_groups(self.name, rows)
        fields = np.array([keys(sample_id) for sample_id in rows["sample_id"]], dtype=object).reshape(-1, 5)
        score = rows["score"].to_numpy(np.float64)
        columns = [score, np.ones(len(rows))]
        for last in (3, 4):  # figure, then question: both within category, kind and set
            label = ["_".join((*parts[:3], parts[last])) for parts in fields]
            columns += all_right(score, label)
        return np.column_stack(columns)

    def value(self, sums: np.ndarray) -> np.ndarray:
        """Mean of aAcc, fAcc and qAcc in percent: the leaderboard's number (VLMEvalKit PR #1670)."""
        return accuracies(sums).mean(axis=-1)

    def report(self, rows: pd.DataFrame) -> dict[str, Any]:
        """aAcc, fAcc and qAcc overall, per category and per kind of figure."""
        sums = self.contributions(rows)
        parts = rows["category"].str.split(LEVEL, expand=True)
        result: dict[str, Any] = {"mean": float(self.value(sums.sum(axis=0)))}
        result["Overall"] = _named(sums)
        for level in parts:
            for category in sorted(parts[level].dropna().unique()):
                result[category] = _named(sums[(parts[level] == category).to_numpy()])
        return result


def keys(sample_id: str) -> tuple[str, str, str, str, str]:
    """Category, kind, set, figure and question: the last five of the six fields of an index."""
    fields = str(sample_id).split("_")
    if len(fields) != 6:
        raise InputError(
            f"benchmark 'hallusionbench': index {sample_id!r} has {len(fields)} fields; expected six "
            "separated by '_', such as '0_VD_chart_1_0_2'."
        )
    return tuple(fields[1:])  # type: ignore[return-value]


def _without_gaps(numbers: set[str]) -> set[str]:
    """The numbers and those between them; other names as they are."""
    if not all(number.isdecimal() for number in numbers):
        return numbers
    present = [int(number) for number in numbers]
    return numbers | {str(number) for number in range(min(present), max(present) + 1)}


def all_right(score: np.ndarray, label: list[str]) -> list[np.ndarray]:
    """Whether all rows of a label are right, and 1: each on the label's first row, else 0."""
    import pandas as pd

    codes, _ = pd.factorize(pd.Series(label, dtype=object))
    first = ~pd.Series(codes).duplicated().to_numpy()
    right = pd.Series(score).groupby(codes).transform("min").to_numpy() if len(score) else score
    return [right * first, first.astype(float)]


def accuracies(sums: np.ndarray) -> np.ndarray:
    """``[..., 6]`` → aAcc, fAcc, qAcc in percent, ``[..., 3]``."""
    return 100.0 * sums[..., 0::2] / sums[..., 1::2]


def _named(sums: np.ndarray) -> dict[str, float]:
    return dict(zip(("aAcc", "fAcc", "qAcc"), map(float, accuracies(sums.sum(axis=0))), strict=True))
