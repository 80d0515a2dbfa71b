"""Video-MME without subtitles: 2,700 questions about 900 videos of three lengths.

VLMEvalKit ``videomme.py`` (the share of right answers over all questions), lmms-eval ``tasks/videomme``
(the same as a percentage; its prompt speaks of subtitles although none are given).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.dataset import LEVEL
from hawk.benchmarks.bases.video import VideoBenchmark
from hawk.benchmarks.rules.cells import text
from hawk.benchmarks.rules.protocols import LETTER

_LMMS = (
    "Select the best answer to the following multiple-choice question based on the video and the "
    "subtitles. Respond with only the letter (A, B, C, or D) of the correct option.\n"
)


@dataclass(frozen=True)
class VideoMME(VideoBenchmark):
    name: ClassVar[str] = "videomme"
    family: ClassVar[str] = "videomme"
    hub_id: ClassVar[str] = "lmms-eval/Video-MME"
    hub_config: ClassVar[str | None] = "videomme"
    columns: ClassVar[tuple[str, ...]] = (
        "duration",
        "domain",
        "sub_category",
        "videoID",
        "question_id",
        "task_type",
        "question",
        "options",
        "answer",
    )
    tsv_columns: ClassVar[tuple[str, ...]] = (
        "index",
        "duration",
        "domain",
        "sub_category",
        "task_type",
        "candidates",
        "answer",
    )
    published_rows: ClassVar[int] = 2700
    licence: ClassVar[str] = "research terms"

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        sample_id = str(row["question_id"])
        parts = ("duration", "domain", "sub_category", "task_type")
        options = self.options_of(row["options"], sample_id)
        category = LEVEL.join(str(row[column]) for column in parts) if text(row["duration"]) else None
        video = self.video(str(row["videoID"]), sample_id)
        return self.sample(row, sample_id, options=options, category=category, video=video)

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        """VLMEvalKit's names; options are a list literal."""
        names = {"question_id": row["index"], "options": row["candidates"]}
        return self.from_hub({"videoID": row.get("video", ""), **row, **names}, number)

    def stand_ins(self) -> dict[str, Any]:
        """The letter is looked for in the answer alone; the parts are for the report."""
        parts = dict.fromkeys(("duration", "domain", "sub_category", "task_type"), "")
        return {**parts, "options": [], "candidates": []}

    def lmms_prompt(self, sample: Sample) -> str:
        return "\n".join([f"{_LMMS}{sample.question}", *filter(None, sample.options), "", LETTER])
