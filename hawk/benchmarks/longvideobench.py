"""LongVideoBench, validation, without subtitles: up to five options.

VLMEvalKit ``longvideobench.py:extract_characters_regex``. lmms-eval interleaves subtitles with frames,
which is not offered here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.multiple_choice import lettered
from hawk.benchmarks.bases.video import VideoBenchmark
from hawk.benchmarks.rules.cells import text, trimmed
from hawk.benchmarks.rules.protocols import LETTER, LMMS_EVAL, MS_VLMEVAL, VLMEVALKIT

_OPTIONS = tuple(f"option{number}" for number in range(5))


@dataclass(frozen=True)
class LongVideoBench(VideoBenchmark):
    name: ClassVar[str] = "longvideobench"
    family: ClassVar[str] = "longvideobench"
    protocols: ClassVar[tuple[str, ...]] = (VLMEVALKIT, MS_VLMEVAL)
    refused: ClassVar[Mapping[str, str]] = {
        LMMS_EVAL: "its prompt interleaves subtitles with the frames, which is not offered."
    }
    letters: ClassVar[str] = "ABCDE"
    hub_id: ClassVar[str] = "longvideobench/LongVideoBench"
    hub_split: ClassVar[str] = "validation"
    columns: ClassVar[tuple[str, ...]] = ("id", "video_path", "correct_choice", "question", *_OPTIONS)
    optional_columns: ClassVar[tuple[str, ...]] = ("duration_group",)
    published_rows: ClassVar[int] = 1337
    licence: ClassVar[str] = "CC-BY-NC-SA-4.0, gated"

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        cells = [text(row[column]) or "" for column in _OPTIONS]
        options = trimmed("" if cell == "N/A" else cell for cell in cells)
        video = self.video(str(row["video_path"]), str(row["id"]))
        category = text(row.get("duration_group"))
        return self.sample(
            row, str(row["id"]), options=options, category=category, answer="correct_choice", video=video
        )

    def letter(self, answer: str, options: Sequence[str]) -> str:
        """The table has the number of an option from 0."""
        number = answer.removesuffix(".0")  # pandas makes 1.0 of a 1 above an empty cell
        is_index = number.isdecimal() and int(number) < len(self.letters)
        return self.letters[int(number)] if is_index else answer

    def stand_ins(self) -> dict[str, Any]:
        return dict.fromkeys(_OPTIONS, "")

    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        options = [f"{letter}. {option}" for letter, option in lettered(sample.options).items()]
        return "\n".join([sample.question, *options, LETTER])
