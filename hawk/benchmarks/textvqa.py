"""TextVQA: questions about text in photographs; VQA accuracy.

VLMEvalKit ``image_vqa.py`` with ``vqa_score``; lmms-eval ``tasks/textvqa``. No OCR tokens are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.vqa import AnnotatedVQA


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
        return self.sample(row, str(row["question_id"]), answer="answers")

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["index"]))
