"""RealWorldQA: questions about photographs, mostly from cars; options stand in the question's text.

VLMEvalKit ``RealWorldQA`` splits them off (three of its 765 rows had lost an option, issue #677);
we split the Hub's text ourselves. A question without options keeps its own instruction, and its answer
must equal the reference but for case and a final full stop, which is lmms-eval's rule for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.multiple_choice import LETTERS, MultipleChoice, lettered, split_options
from hawk.benchmarks.rules.cells import answers, options_by_letter, single, text
from hawk.benchmarks.rules.choices import extract_option
from hawk.benchmarks.rules.protocols import LMMS_EVAL

_LETTER_LINE = "Please answer directly with only the letter of the correct option and nothing else."


@dataclass(frozen=True)
class RealWorldQA(MultipleChoice):
    name: ClassVar[str] = "realworldqa"
    version: ClassVar[int] = 2
    family: ClassVar[str] = "realworldqa"
    hub_id: ClassVar[str] = "lmms-lab-encoder/RealWorldQA"
    columns: ClassVar[tuple[str, ...]] = ("image", "question", "answer")
    tsv: ClassVar[str | None] = "RealWorldQA"
    published_rows: ClassVar[int] = 765
    licence: ClassVar[str] = "CC-BY-ND-4.0 (original)"

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        """The question stays as stored: lmms-eval asks it so. Options are read from it besides."""
        question = text(row["question"]) or ""
        options = self.options_of(row.get("options"), str(number)) or options_by_letter(row)
        if not options:
            (answer, *_) = self.references(row, "answer", str(number)) or ("",)
            options = _split(question, answer)[1]
            if answer not in lettered(options):
                options = ()  # letters in the text that are no options
        return self.sample(row, str(number), question, options)

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        """A letter, or the text of an open answer, from which a full stop is cut as from a prediction."""
        answer = single(answers(value)).rstrip(".").rstrip()
        return super().as_references(answer, options) if options else answers(answer)

    def check_options(self, sample: Sample) -> None:
        """A question may be open; then its answer is no letter, or its text holds the options."""
        if sample.references[:1] and sample.references[0] in LETTERS[:4] and not sample.question:
            super().check_options(sample)

    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        if protocol == LMMS_EVAL:
            self.check_protocol(protocol)
            return sample.question.strip()
        if not sample.options:
            self.check_protocol(protocol)
            return sample.question
        stem = _split(sample.question, sample.references[0] if sample.references else "")
        question = stem[0] if stem[1] == sample.options else sample.question
        return super().prompt(_with_question(sample, question), protocol)

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return self.lmms_parse(prediction, sample)
        if _is_open(sample):
            return _open(prediction)
        return super().parse(prediction, sample, protocol)

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        """A letter if the reference is one, else the answer's text."""
        if sample.references[0].upper() in ("A", "B", "C", "D"):
            return extract_option(prediction, "ABCD")
        return _open(prediction)

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        answer = sample.references[0]
        if protocol == LMMS_EVAL and answer.upper() in ("A", "B", "C", "D"):
            return float(parsed == answer.upper())
        if protocol == LMMS_EVAL or _is_open(sample):
            return float(parsed == answer.lower())
        return float(parsed == answer)


def _split(question: str, answer: str) -> tuple[str, tuple[str, ...]]:
    return split_options(question.replace(_LETTER_LINE, "").rstrip(), answer)


def _is_open(sample: Sample) -> bool:
    """Whether no letter is asked for. One may be although its options could not be read from the text."""
    return not sample.options and (not sample.references or sample.references[0] not in tuple(LETTERS[:4]))


def _open(prediction: str) -> str:
    return prediction.lower().strip().rstrip(".")


def _with_question(sample: Sample, question: str) -> Sample:
    return replace(sample, question=question)
