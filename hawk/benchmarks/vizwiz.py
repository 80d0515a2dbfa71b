"""VizWiz-VQA: questions of blind people about their photographs; VQA accuracy.

VLMEvalKit ``image_vqa.py:VizWiz`` (adds nothing to the question); lmms-eval ``tasks/vizwiz_vqa``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.vqa import AnnotatedVQA
from hawk.benchmarks.rules.cells import text
from hawk.benchmarks.rules.protocols import SINGLE_WORD


@dataclass(frozen=True)
class VizWiz(AnnotatedVQA):
    name: ClassVar[str] = "vizwiz"
    family: ClassVar[str] = "vizwiz"
    instruction: ClassVar[str | None] = None
    lmms_instruction: ClassVar[str] = (
        "When the provided information is insufficient, respond with 'Unanswerable'.\n" + SINGLE_WORD
    )
    hub_id: ClassVar[str] = "lmms-lab-encoder/VizWiz-VQA"
    hub_split: ClassVar[str] = "val"
    columns: ClassVar[tuple[str, ...]] = ("question_id", "image", "question", "answers")
    optional_columns: ClassVar[tuple[str, ...]] = ("category",)
    tsv: ClassVar[str | None] = "VizWiz"
    tsv_columns: ClassVar[tuple[str, ...]] = ("index", "question", "answers")
    published_rows: ClassVar[int] = 4319

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["question_id"]), category=text(row.get("category")), answer="answers")

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["index"]), category=text(row.get("category")), answer="answers")
