"""MME: yes/no questions in pairs, one pair per image; the sum of fourteen category scores.

VLMEvalKit ``image_yorn.py``, ``utils/yorn.py:MME_rating``; lmms-eval ``tasks/mme``. A category's
score is 100 · (share of right questions) + 100 · (share of images with both right), so at most 200.
The aggregate is perception + cognition, at most 2800: the number that the paper prints (2315 for
Qwen2.5-VL-7B).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import DatasetBenchmark, check_categories, check_groups
from hawk.benchmarks.rules.metrics import UNKNOWN, yes_no_answer, yes_or_no, yes_or_no_prefix
from hawk.benchmarks.rules.protocols import LMMS_EVAL, SINGLE_WORD, YES_NO

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PERCEPTION = (
    "OCR",
    "artwork",
    "celebrity",
    "color",
    "count",
    "existence",
    "landmark",
    "position",
    "posters",
    "scene",
)
COGNITION = (
    "code_reasoning",
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
)
CATEGORIES = PERCEPTION + COGNITION
_SUMS = 4  # per category: right questions, questions, right pairs, pairs


@dataclass(frozen=True)
class MME(DatasetBenchmark):
    name: ClassVar[str] = "mme"
    family: ClassVar[str] = "mme"
    native_max: ClassVar[float] = 2800.0
    needs_every_category: ClassVar[bool] = True
    grouped: ClassVar[bool] = True
    keys: ClassVar[tuple[str, ...]] = ("question_id",)
    hub_id: ClassVar[str] = "lmms-lab-encoder/MME"
    columns: ClassVar[tuple[str, ...]] = ("question_id", "image", "question", "answer", "category")
    tsv: ClassVar[str | None] = "MME"
    tsv_columns: ClassVar[tuple[str, ...]] = ("index", "question", "answer", "category", "image_path")
    published_rows: ClassVar[int] = 2374

    # --- data ---------------------------------------------------------------------------------
    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        return self._sample(row, str(row["question_id"]), f"{row['question_id']}|{number}")

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self._sample(row, str(row["image_path"]), str(row["index"]))

    def _sample(self, row: Mapping[str, Any], pair: str, sample_id: str) -> Sample:
        category = str(row["category"])
        return self.sample(
            row, sample_id, str(row["question"]), category=category, metric_group=f"{category}/{pair}"
        )

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        return (yes_no_answer(value),)

    def wrong_answers(self, sample: Sample) -> tuple[str, ...]:
        return tuple(word for word in ("Yes", "No") if word not in sample.references)

    def expected_rows(self, present: int) -> int:
        return 2

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return f"{sample.question.strip().replace(f' {YES_NO}', '')}\n{SINGLE_WORD}"
        if self.style == "internvl":
            return f"{sample.question} {SINGLE_WORD}"
        return sample.question

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            word = yes_or_no_prefix(prediction)
            return None if word == "other" else word.capitalize()
        word = yes_or_no(prediction)
        return None if word == UNKNOWN else word

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """Per category (in the order of ``CATEGORIES``): right, questions, right pairs, pairs."""
        import numpy as np

        self._check(rows)
        score = rows["score"].to_numpy(np.float64)
        both = rows["score"].groupby(rows["metric_group"].to_numpy()).transform("min").to_numpy(np.float64)
        first = ~rows["metric_group"].duplicated().to_numpy()
        shares = np.column_stack([score, np.ones(len(rows)), both * first, first])
        sums = np.zeros((len(rows), len(CATEGORIES), _SUMS))
        column = rows["category"].map({name: i for i, name in enumerate(CATEGORIES)}).to_numpy()
        sums[np.arange(len(rows)), column] = shares
        return sums.reshape(len(rows), -1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        by_category = sums.reshape(*sums.shape[:-1], len(CATEGORIES), _SUMS)
        if self.protocol == LMMS_EVAL:
            import numpy as np

            there = by_category[..., 1] > 0
            return np.where(there, category_scores(np.where(there[..., None], by_category, 1.0)), 0.0).sum(-1)
        return category_scores(by_category).sum(axis=-1)

    def _check(self, rows: pd.DataFrame) -> None:
        """Pairs complete, and all categories; lmms-eval sums over those that are there."""
        categories = set(rows["category"])
        needed = CATEGORIES if self.protocol != LMMS_EVAL else tuple(categories & set(CATEGORIES))
        check_categories(self.name, categories, needed)
        check_groups(self.name, rows)

    def report(self, rows: pd.DataFrame) -> dict[str, float]:
        """Every category's score and the two sums."""
        import numpy as np

        present = [name for name in CATEGORIES if (rows["category"] == name).any()]
        self._check(rows)
        scores = {}
        for name in present:
            part = rows[rows["category"] == name]
            pairs = part.groupby("metric_group")["score"]
            sums = [part["score"].sum(), len(part), pairs.min().sum(), pairs.ngroups]
            scores[name] = float(category_scores(np.array(sums, dtype=np.float64)))
        perception = sum(scores[name] for name in present if name in PERCEPTION)
        cognition = sum(scores[name] for name in present if name in COGNITION)
        return {
            "Overall": perception + cognition,
            "perception": perception,
            "reasoning": cognition,
            **scores,
        }


def category_scores(sums: np.ndarray) -> np.ndarray:
    """``[..., right, questions, right pairs, pairs]`` → 100 · accuracy + 100 · accuracy+."""
    return 100.0 * sums[..., 0] / sums[..., 1] + 100.0 * sums[..., 2] / sums[..., 3]
