"""ScienceQA, the questions with an image: school science with a hint.

VLMEvalKit ``ScienceQA_TEST`` (2,017 rows, issue #1300); lmms-eval ``scienceqa_img``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.multiple_choice import (
    LETTERS,
    MultipleChoice,
    as_letter,
    lettered,
    split_hint,
    with_hint,
)
from hawk.benchmarks.rules.cells import text
from hawk.benchmarks.rules.protocols import LETTER


@dataclass(frozen=True)
class ScienceQA(MultipleChoice):
    name: ClassVar[str] = "scienceqa"
    family: ClassVar[str] = "science"
    hub_id: ClassVar[str] = "lmms-lab-encoder/ScienceQA"
    hub_config: ClassVar[str | None] = "ScienceQA-IMG"
    columns: ClassVar[tuple[str, ...]] = ("image", "question", "choices", "answer", "hint")
    optional_columns: ClassVar[tuple[str, ...]] = ("category",)
    tsv: ClassVar[str | None] = "ScienceQA_TEST"
    published_rows: ClassVar[int] = 2017
    licence: ClassVar[str] = "CC-BY-NC-SA-4.0"

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample | None:
        if row["image"] is None:  # the config ScienceQA-FULL has questions without one
            return None
        return self.sample(
            row,
            str(number),
            with_hint(text(row["hint"]), text(row["question"]) or ""),
            self.options_of(row["choices"], str(number)),
            text(row.get("category")),
        )

    def letter(self, answer: str, options: Sequence[str]) -> str:
        """The Hub's table has the number of an option from 0, VLMEvalKit's its letter."""
        return as_letter(answer, options)

    def stand_ins(self) -> dict[str, Any]:
        return {"hint": ""}

    def lmms_prompt(self, sample: Sample) -> str:
        hint, question = split_hint(sample.question)
        context = [f"Context: {hint}"] if hint else []
        options = [f"{letter}. {option}" for letter, option in lettered(sample.options).items()]
        return "\n".join([*context, question, *options, LETTER])

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        """The letter alone in either case, or a capital letter with a full stop at the start."""
        prediction = prediction.strip()
        if len(prediction) == 1 and prediction.upper() in LETTERS:
            return prediction.upper()
        if len(prediction) >= 2 and prediction[0].isupper() and prediction[1] == ".":
            return prediction[0]
        return None
