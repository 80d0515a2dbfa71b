"""TextVQA: questions about text in photographs; VQA accuracy.

VLMEvalKit ``image_vqa.py`` with ``vqa_score``; lmms-eval ``tasks/textvqa``. No OCR tokens are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.vqa import AnnotatedVQA
from hawk.benchmarks.rules.cells import text


@dataclass(frozen=True)
class TextVQA(AnnotatedVQA):
    name: ClassVar[str] = "textvqa"
    family: ClassVar[str] = "reading"  # OCRBench takes images of TextVQA and ChartQA
    hub_id: ClassVar[str] = "lmms-lab-encoder/textvqa"
    hub_split: ClassVar[str] = "validation"
    columns: ClassVar[tuple[str, ...]] = ("question_id", "question", "image", "answers")
    tsv: ClassVar[str | None] = "TextVQA_VAL"
    published_rows: ClassVar[int] = 5000
    licence: ClassVar[str] = "CC-BY-4.0"

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        return self._sample(row, str(row["question_id"]), "answers")

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self._sample(row, str(row["index"]), "answer")

    def _sample(self, row: Mapping[str, Any], sample_id: str, column: str) -> Sample:
        return Sample(
            sample_id=sample_id,
            group_id="",
            question=text(row["question"]) or "",
            references=self.references(row, column, sample_id),
            images=self.images(row, sample_id),
            split=self.hub_split,
        )
