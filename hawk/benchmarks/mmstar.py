"""MMStar: 1,500 multiple-choice questions that cannot be answered without the picture.

VLMEvalKit ``MMStar`` reports the mean over rows, lmms-eval (``tasks/mmstar``) the mean over eighteen
second-level categories. On the Hub the options stand in the question; VLMEvalKit's TSV has them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import LEVEL, levels
from hawk.benchmarks.bases.multiple_choice import MultipleChoice, split_options
from hawk.benchmarks.rules.cells import options_by_letter, text
from hawk.benchmarks.rules.choices import extract_option
from hawk.benchmarks.rules.protocols import LETTER, LMMS_EVAL
from hawk.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def _category(row: Mapping[str, Any]) -> str | None:
    """Both levels; VLMEvalKit's table may write the second with a hyphen."""
    second = text(row.get("l2_category")) or text(row.get("l2-category"))
    return LEVEL.join(level for level in (text(row.get("category")), second) if level) or None


@dataclass(frozen=True)
class MMStar(MultipleChoice):
    name: ClassVar[str] = "mmstar"
    version: ClassVar[int] = 2
    family: ClassVar[str] = "science"  # takes images of AI2D, ScienceQA and MMBench
    hub_id: ClassVar[str] = "Lin-Chen/MMStar"
    hub_split: ClassVar[str] = "val"
    hub_config: ClassVar[str | None] = "val"
    columns: ClassVar[tuple[str, ...]] = (
        "index",
        "question",
        "image",
        "answer",
        "category",
        "l2_category",
    )
    tsv: ClassVar[str | None] = "MMStar"
    published_rows: ClassVar[int] = 1500
    lmms_tokens: ClassVar[int] = 128  # the task names none; lmms-eval's chat classes default to it

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        """The question stays as stored: lmms-eval asks it so. Options are read from it besides."""
        question, answer = text(row["question"]) or "", text(row["answer"])
        options = self.options_of(row.get("options"), str(row["index"])) or options_by_letter(row)
        options = options or split_options(question, answer and answer.strip())[1]
        return self.sample(
            row,
            str(row["index"]),
            question,
            options,
            _category(row),
        )

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample | None:
        sample = super().from_tsv(row, number)
        return None if sample is None else replace(sample, category=_category(row))

    def stand_ins(self) -> dict[str, Any]:
        """VLMEvalKit's mean knows no category; lmms-eval's is one over categories."""
        return {} if self.protocol == LMMS_EVAL else {"category": "", "l2_category": ""}

    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        if protocol != LMMS_EVAL:
            answer = sample.references[0] if sample.references else None
            stem, options = split_options(sample.question, answer)
            if options and options == sample.options:
                sample = replace(sample, question=stem)
        return super().prompt(sample, protocol)

    def lmms_prompt(self, sample: Sample) -> str:
        return f"{sample.question.strip()}\n{LETTER.removesuffix('.')}"

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        return extract_option(prediction, "ABCD")

    # --- aggregate ------------------------------------------------------------------------------
    def contributions(self, rows: pd.DataFrame) -> np.ndarray:
        """Right and all, once; for lmms-eval once per second-level category, in sorted order."""
        import numpy as np

        if self.protocol != LMMS_EVAL:
            return super().contributions(rows)
        second = levels(rows).get(1)
        if second is None or not second.fillna("").all():
            raise InputError(f"benchmark {self.name!r}: lmms-eval's mean needs every row's l2_category.")
        columns = []
        for category in sorted(second.unique()):
            inside = (second == category).to_numpy(np.float64)
            columns += [rows["score"].to_numpy(np.float64) * inside, inside]
        return np.column_stack(columns)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return (100.0 * sums[..., 0::2] / sums[..., 1::2]).mean(axis=-1)
