"""Free-form questions with ten annotators' answers: what TextVQA and VizWiz share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import DatasetBenchmark
from hawk.benchmarks.rules.cells import scalars, shown, text
from hawk.benchmarks.rules.metrics import vqa_accuracy
from hawk.benchmarks.rules.normalise import evalai_text, vqa_text
from hawk.benchmarks.rules.protocols import LMMS_EVAL, SHORT_WORDS, SINGLE_WORD
from hawk.core.errors import InputError

ANNOTATORS = 4  # so many have to agree for a full score


@dataclass(frozen=True)
class AnnotatedVQA(DatasetBenchmark):
    """VQA accuracy, every annotator left out in turn; the two harnesses normalise differently."""

    # VLMEvalKit's line after the question in its default style; None: nothing is added.
    instruction: ClassVar[str | None] = SINGLE_WORD
    lmms_instruction: ClassVar[str] = SINGLE_WORD
    lmms_tokens: ClassVar[int] = 128  # the task names none; lmms-eval's chat classes default to it

    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        """Every annotator's answer; an empty one counts, for leaving an annotator out needs them all."""
        answers = tuple(text(cell) or "" for cell in scalars(value, "an answer"))
        if not any(answers):
            raise InputError(f"the annotators' answers are {shown(value)}; there is nothing to compare with.")
        if len(answers) < ANNOTATORS:
            raise InputError(
                f"{len(answers)} annotators' answers ({shown(value)}); where one is left out in turn, fewer "
                f"than {ANNOTATORS} that agree are never wholly right. The benchmark has ten."
            )
        return answers

    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:  # capitalize() lower-cases everything after the first letter
            return f"{sample.question.capitalize()}\n{self.lmms_instruction}"
        line = {"qwen": SHORT_WORDS, "internvl": SINGLE_WORD}.get(self.style, self.instruction)
        return f"{sample.question}\n{line}" if line else sample.question

    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        """The answer in the harness's form. It may be empty: an annotator's may be as well."""
        self.check_protocol(protocol)
        return evalai_text(prediction) if protocol == LMMS_EVAL else vqa_text(prediction)

    def score(self, parsed: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> float:
        form = evalai_text if protocol == LMMS_EVAL else vqa_text
        return vqa_accuracy(parsed, [form(reference) for reference in sample.references])
