"""WorldSense without audio and subtitles: 3,172 questions about 1,662 videos.

VLMEvalKit ``worldsense.py`` (a sentence before the video, otherwise as Video-MME), lmms-eval
``tasks/worldsense`` (any capital option letter counts, and what cannot be read is A).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import LEVEL
from hawk.benchmarks.bases.multiple_choice import LETTERS
from hawk.benchmarks.bases.video import VideoBenchmark
from hawk.benchmarks.rules.cells import text
from hawk.benchmarks.rules.metrics import any_letter
from hawk.benchmarks.rules.protocols import LMMS_EVAL

_WATCH = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, "
    "select the best option that accurately addresses the question."
)
_LMMS = (
    "\nThese are the frames of a video and the corresponding audio. Select the best answer to the "
    "following multiple-choice question based on the video. Respond with only the letter "
    "(A, B, C, or D) of the correct option.\n"
)


@dataclass(frozen=True)
class WorldSense(VideoBenchmark):
    name: ClassVar[str] = "worldsense"
    family: ClassVar[str] = "worldsense"
    hub_id: ClassVar[str] = "lmms-lab/worldsense"
    columns: ClassVar[tuple[str, ...]] = (
        "index",
        "video_path",
        "question",
        "candidates",
        "answer",
        "task_type",
        "task_domain",
        "duration",
    )
    tsv_columns: ClassVar[tuple[str, ...]] = (
        "index",
        "duration",
        "domain",
        "task_type",
        "candidates",
        "answer",
    )
    published_rows: ClassVar[int] = 3172
    licence: ClassVar[str] = "apache-2.0 (tag); original CC-BY-4.0"
    lmms_tokens: ClassVar[int] = 1024

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        sample_id = str(row["index"])
        row = {**row, "task_domain": row["task_domain"] or row.get("domain")}
        parts = ("duration", "task_domain", "task_type")
        options = self.options_of(row["candidates"], sample_id)
        category = LEVEL.join(str(row[column]) for column in parts) if text(row["duration"]) else None
        video = self.video(str(row["video_path"]), sample_id)
        return self.sample(row, sample_id, options=options, category=category, video=video)

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample:
        """VLMEvalKit's names; options are a list literal."""
        names = {"task_domain": row["domain"]}
        return self.from_hub({"video_path": row.get("video", ""), **row, **names}, number)

    def stand_ins(self) -> dict[str, Any]:
        """lmms-eval's rule depends on how many options there are; VLMEvalKit's does not."""
        parts = dict.fromkeys(("duration", "task_domain", "domain", "task_type"), "")
        options: dict[str, Any] = {} if self.protocol == LMMS_EVAL else {"candidates": []}
        return {**parts, **options}

    def messages(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> list[dict[str, Any]]:
        """VLMEvalKit says what to do before it shows the video, lmms-eval after."""
        messages = super().messages(sample, protocol)
        if protocol != LMMS_EVAL:
            messages[0]["content"].insert(0, {"type": "text", "text": _WATCH})
        return messages

    def lmms_prompt(self, sample: Sample) -> str:
        lines = [sample.question, *filter(None, sample.options)]
        return "".join([_WATCH, _LMMS, *(f"{line}\n" for line in lines)])

    def lmms_parse(self, prediction: str, sample: Sample) -> str:
        """Only A to C where there are three options, else A to D; "A. " is cut from the contents."""
        count = 3 if len(sample.options) == 3 else 4
        contents = [option[3:] for option in sample.options[:count]]
        return any_letter(prediction, dict(zip(LETTERS, contents, strict=False)))
