"""Multiple choice about videos: files, frames, and what Video-MME and WorldSense share.

A sample carries the path of its video, not its bytes: a benchmark's videos fill hundreds of
gigabytes. Its ``group_id`` is the hash of the file.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import DatasetBenchmark, levels
from hawk.benchmarks.rules.cells import answers, is_empty, options, single, trimmed
from hawk.benchmarks.rules.choices import extract_option
from hawk.benchmarks.rules.metrics import first_letter
from hawk.benchmarks.rules.protocols import LETTER, LMMS_EVAL
from hawk.benchmarks.sources import hub
from hawk.core.errors import InputError
from hawk.core.images import file_hash

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger(__name__)

# VLMEvalKit's text between video and question.
FRAMES = (
    "\nThese are the frames of a video. Select the best answer to the following multiple-choice "
    "question based on the video. Respond with only the letter (A, B, C, or D) of the correct option.\n"
)


_NO_OPTION = re.compile(r"\(?[A-Z][.):]\s*(nan|null)?", re.IGNORECASE)  # of a table that had no such option


@dataclass(frozen=True)
class VideoBenchmark(DatasetBenchmark):
    """One video, one question, options such as "A. a dog"; the reference is a letter."""

    takes: ClassVar[Mapping[str, str]] = {**DatasetBenchmark.takes, "videos": "str"}
    suffixes: ClassVar[tuple[str, ...]] = (".mp4", ".mkv", ".webm")
    letters: ClassVar[str] = "ABCD"

    # --- data ---------------------------------------------------------------------------------
    def load(self) -> Iterator[Sample]:
        hashes: dict[Path, str] = {}
        for sample in self._drafts(self.source()):
            path = Path(str(sample.video["path"])) if sample.video else Path()
            if path not in hashes:
                hashes[path] = file_hash(path)
            yield replace(sample, group_id=hashes[path])

    def videos(self) -> Path:
        """Where the video files are: the option ``videos``, else where `hawk fetch` puts them."""
        from huggingface_hub import constants

        folder = self.options.get("videos")
        return Path(folder).expanduser() if folder else Path(constants.HF_HOME) / "hawk" / self.name

    def fetch_videos(self) -> tuple[Path, ...]:
        """Download the repository's archives and unpack each once. Returns the archives."""
        described = self.source().described
        if described["source"] != "hub" or "videos" in self.options:
            return ()
        root = hub.snapshot(str(described["id"]), str(described["revision"]), ["*.zip"])
        archives = tuple(sorted(path for path in root.rglob("*.zip") if "subtitle" not in path.name))
        for archive in archives:
            done = self.videos() / f".{archive.stem}.{described['revision']}"
            if not done.exists():
                log.info("unpacking %s into %s", archive.name, self.videos())
                with zipfile.ZipFile(archive) as file:
                    file.extractall(self.videos())
                done.touch()  # after the last file: an interrupted archive is unpacked again
        return archives

    def video(self, name: str, sample_id: str) -> dict[str, Any]:
        """The file of a video, wherever it lies under the folder of videos."""
        if not name:  # a row of predictions
            return {"bytes": None, "path": None}
        root = self.videos()
        names = [name] if name.endswith(self.suffixes) else [name + end for end in self.suffixes]
        for file_name in names:
            file = (
                root / file_name
                if (root / file_name).is_file()
                else next(root.rglob(Path(file_name).name), None)
            )
            if file is not None:
                return {"bytes": None, "path": str(file)}
        raise InputError(
            f"benchmark {self.name!r}, sample {sample_id!r}: no file {' or '.join(names)} under "
            f"{root}. Run `hawk fetch`, or name the folder in data.{self.name}.videos."
        )

    def from_answer(self, row: Mapping[str, Any], number: int) -> Sample:
        """Options may stand under the name of any of the tables."""
        row = {**row, "videoID": "", "video_path": "", "video_name": ""}
        columns = ("candidates", "options")
        video = next((row[column] for column in columns if not is_empty(row.get(column))), None)
        if video is not None:
            row |= {column: video for column in columns if is_empty(row.get(column))}
        return super().from_answer(row, number)

    def options_of(self, value: Any, sample_id: str) -> tuple[str, ...]:
        """The options in a cell, "A. " before each; anything else is an error with the sample's name."""
        try:
            texts = options(value)
        except InputError as error:
            raise InputError(f"benchmark {self.name!r}, sample {sample_id!r}: {error}") from None
        return trimmed("" if _NO_OPTION.fullmatch(option) else option for option in texts)

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        """One letter, of an option that is there."""
        given = single(answers(value))
        answer = self.letter(given, options)
        allowed = [option for option, content in zip(self.letters, options, strict=False) if content]
        if answer not in (allowed if options else tuple(self.letters)):
            raise InputError(
                f"the answer is {given!r}; allowed: {', '.join(allowed if options else self.letters)}."
            )
        return (answer,)

    def letter(self, answer: str, options: Sequence[str]) -> str:
        """An answer as the benchmark's table writes it → its letter."""
        return answer

    def wrong_answers(self, sample: Sample) -> tuple[str, ...]:
        lettered = zip(self.letters, sample.options, strict=False)
        return tuple(letter for letter, option in lettered if option and letter not in sample.references)

    # --- prompt and scoring ---------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        options = "\n".join(option for option in sample.options if option)
        if protocol == LMMS_EVAL:
            return self.lmms_prompt(sample)
        text = f"{FRAMES}Question: {sample.question}\n{options}\nAnswer: "
        if self.style == "internvl":
            return f"{text.removesuffix(chr(10) + 'Answer: ')}\n{LETTER}"
        return text

    def lmms_prompt(self, sample: Sample) -> str:
        raise NotImplementedError

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return self.lmms_parse(prediction, sample)
        return first_letter(prediction, self.letters)

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        return extract_option(prediction, self.letters)

    # --- aggregate ------------------------------------------------------------------------------
    def report(self, rows: pd.DataFrame) -> dict[str, float]:
        """Percent overall and per level of category (duration, domain, …)."""
        result = {"overall": self.aggregate(rows)}
        parts = levels(rows)
        for level in parts:
            for category in sorted(set(parts[level].dropna()) - {""}):
                result[category] = self.aggregate(rows[parts[level] == category])
        return result
