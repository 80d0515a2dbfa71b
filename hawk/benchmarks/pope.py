"""POPE: is an object in the picture; F1 of "yes" over random, popular and adversarial questions.

VLMEvalKit ``utils/yorn.py:POPE_rating``; lmms-eval ``tasks/pope``. Upstream's TSV merges equal
questions of several categories and counts them once for each, which is the 9,000 rows of the Hub.
The two harnesses differ in unreadable answers to a "yes" question: misses for VLMEvalKit, nothing
at all for lmms-eval, where a garbling model keeps its recall.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import LEVEL, DatasetBenchmark, check_categories
from hawk.benchmarks.rules.metrics import UNKNOWN, yes_no_answer, yes_or_no
from hawk.benchmarks.rules.protocols import LMMS_EVAL, SINGLE_WORD, YES_NO
from hawk.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CATEGORIES = ("adversarial", "popular", "random")


@dataclass(frozen=True)
class POPE(DatasetBenchmark):
    name: ClassVar[str] = "pope"
    family: ClassVar[str] = "coco"
    needs_every_category: ClassVar[bool] = True
    hub_id: ClassVar[str] = "lmms-lab-encoder/POPE"
    columns: ClassVar[tuple[str, ...]] = ("question_id", "question", "answer", "image", "category")
    tsv: ClassVar[str | None] = "POPE"
    tsv_columns: ClassVar[tuple[str, ...]] = ("index", "question", "answer", "category")
    published_rows: ClassVar[int] = 9000
    lmms_tokens: ClassVar[int] = 128

    # --- data ---------------------------------------------------------------------------------
    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        return self._sample(row, f"{row['category']}/{row['question_id']}", str(row["question"]))

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        question = str(row["question"]).strip().removesuffix(YES_NO).strip()
        return self._sample(row, str(row["index"]), question)

    def _sample(self, row: Mapping[str, Any], sample_id: str, question: str) -> Sample:
        references = self.references(row, "answer", sample_id)
        category, _, truth = str(row["category"]).partition(LEVEL)
        if truth not in ("", *references):
            raise InputError(
                f"benchmark {self.name!r}, sample {sample_id!r}: the answer is {references[0]!r}, but the "
                f"category says {truth!r}."
            )
        # The true answer is part of the category: an F1 needs it, and rows of both.
        return self.sample(row, sample_id, question, category=LEVEL.join([category, *references]))

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        return (yes_no_answer(value),)

    def wrong_answers(self, sample: Sample) -> tuple[str, ...]:
        return tuple(word for word in ("Yes", "No") if word not in sample.references)

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        """VLMEvalKit's TSV carries the suffix in the question; the Hub's rows lack it."""
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return f"{sample.question.strip()}\n{SINGLE_WORD}"
        question = sample.question.removesuffix(f" {YES_NO}") + f" {YES_NO}"
        return f"{question} {YES_NO}" if self.style == "qwen" else question

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            word = prediction.lower().strip()
            return word.capitalize() if word in ("yes", "no") else None
        word = yes_or_no(prediction)
        return None if word == UNKNOWN else word

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """True positives, false positives, false negatives; right answers, answers."""
        return self._counts(rows, strict=True)

    def _counts(self, rows: pd.DataFrame, strict: bool) -> np.ndarray:
        import numpy as np

        parts = rows["category"].str.rsplit(LEVEL, n=1, expand=True)
        if parts.shape[1] != 2 or not parts[1].isin(["Yes", "No"]).all():
            raise InputError(
                f"benchmark {self.name!r}: categories must say the true answer, such as "
                f"'popular{LEVEL}Yes'; found {rows['category'].iloc[0]!r}."
            )
        names = parts[0].str.split(",")
        if strict:
            check_categories(self.name, {category for listed in names for category in listed}, CATEGORIES)
        # A merged row counts once in each of its categories.
        weight = names.str.len().to_numpy(np.float64)
        truth = (parts[1] == "Yes").to_numpy()
        said_yes = rows["parsed"].isin(["Yes"]).to_numpy(dtype=bool)  # plain bools, nulls and Arrow included
        missed = truth & ~said_yes
        if self.protocol == LMMS_EVAL:
            missed &= rows["parsed"].isin(["No"]).to_numpy(dtype=bool)
        right = rows["score"].to_numpy(np.float64)
        columns = [truth & said_yes, ~truth & said_yes, missed, right, np.ones(len(rows))]
        return np.column_stack(columns) * weight[:, None]

    def value(self, sums: np.ndarray) -> np.ndarray:
        """F1 in percent; 0 where nothing was answered with yes and nothing missed, as upstream."""
        import numpy as np

        doubled = 2.0 * sums[..., 0]
        total = doubled + sums[..., 1] + sums[..., 2]
        return 100.0 * np.divide(doubled, total, out=np.zeros_like(total), where=total > 0)

    def report(self, rows: pd.DataFrame) -> dict[str, Any]:
        """F1, accuracy, precision and recall in percent, overall and per category."""
        sums = self._counts(rows, strict=False)
        result = {"Overall": self._named(sums)}
        names = rows["category"].str.rsplit(LEVEL, n=1).str[0].str.split(",")
        for category in CATEGORIES:
            inside = names.map(lambda listed, category=category: category in listed).to_numpy(dtype=bool)
            if inside.any():
                # Within one category a merged row counts once.
                result[category] = self._named(sums[inside] / names.str.len().to_numpy()[inside, None])
        return result

    def _named(self, rows: np.ndarray) -> dict[str, float]:
        sums = rows.sum(axis=0)
        hits, false, missed, right, count = map(float, sums)
        return {
            "Overall": float(self.value(sums)),
            "acc": 100.0 * right / count,
            "precision": 100.0 * hits / (hits + false) if hits + false else 0.0,
            "recall": 100.0 * hits / (hits + missed) if hits + missed else 0.0,
        }
