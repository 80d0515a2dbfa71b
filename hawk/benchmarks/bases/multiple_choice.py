"""Questions with lettered options: what AI2D, RealWorldQA, ScienceQA, MMBench and MMStar share.

VLMEvalKit ``image_mcq.py`` with exact matching. The letter in an answer is inferred by
:func:`hawk.benchmarks.rules.choices.infer_option`; what cannot be read is wrong, never a random guess.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import LEVEL, DatasetBenchmark, text
from hawk.benchmarks.rules.choices import REFUSED, infer_option
from hawk.benchmarks.rules.metrics import listed
from hawk.benchmarks.rules.protocols import LETTER, LMMS_EVAL, MS_VLMEVAL
from hawk.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


LETTERS = string.ascii_uppercase
# A hint stands before the question in ``Sample.question``, parted by this line.
HINT = "\n[question]\n"


def lettered(options: Sequence[str]) -> dict[str, str]:
    """Options by letter. An empty one is not there, and those behind it keep their letters."""
    return {letter: option for letter, option in zip(LETTERS, options, strict=False) if option}


def options_in(row: Mapping[str, Any]) -> list[str]:
    """The cells A, B, … up to the last that has something, as text; empty ones are ""."""
    cells = ["" if text(row.get(letter)) is None else str(row[letter]) for letter in LETTERS]
    return cells[: max((number for number, cell in enumerate(cells, 1) if cell), default=0)]


def as_letter(answer: Any, options: Sequence[str]) -> str:
    """An answer given as the number of an option from 0, or as its letter already."""
    answer = str(answer).strip()
    known = answer.isdecimal() and int(answer) < len(options)
    return LETTERS[int(answer)] if known else answer


def with_hint(hint: str | None, question: str) -> str:
    """Hint and question as one text of the contract."""
    return f"{hint}{HINT}{question}" if hint else question


def split_hint(question: str) -> tuple[str | None, str]:
    hint, parted, rest = question.partition(HINT)
    return (hint, rest) if parted else (None, question)


@dataclass(frozen=True)
class MultipleChoice(DatasetBenchmark):
    """One image, one question, options A, B, …; the reference is a letter."""

    tsv_columns: ClassVar[tuple[str, ...]] = ("index", "question", "answer", "A", "B")

    # --- data ---------------------------------------------------------------------------------
    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample | None:
        options = options_in(row)
        category = LEVEL.join(one for one in (text(row.get("category")), text(row.get("l2-category"))) if one)
        return self.sample(
            row,
            str(row["index"]),
            with_hint(text(row.get("hint")), str(row["question"])),
            options,
            str(row["answer"]).strip(),
            category or None,
        )

    def sample(
        self,
        row: Mapping[str, Any],
        sample_id: str,
        question: str,
        options: Sequence[str],
        answer: str,
        category: str | None = None,
        metric_group: str | None = None,
    ) -> Sample:
        if options and answer not in lettered(options):
            raise InputError(
                f"benchmark {self.name!r}, sample {sample_id!r}: answer {answer!r} is none of the "
                f"{len(lettered(options))} options ({', '.join(lettered(options))})."
            )
        return Sample(
            sample_id=sample_id,
            group_id="",
            question=question,
            references=(answer,),
            images=self.images(row, sample_id),
            options=tuple(map(str, options)),
            category=category,
            metric_group=metric_group,
            split=self.hub_split,
        )

    def from_answer(self, row: Mapping[str, Any], number: int) -> Sample:
        """Options may be a list, or one per letter, whichever of the two tables has it so."""
        given = next((row[one] for one in ("options", "choices") if row.get(one) is not None), None)
        options = options_in(given) if isinstance(given, Mapping) else list(listed(given))
        cells = options or options_in(row)
        if cells:  # an empty one is no missing column
            row = {**row, **dict.fromkeys("AB", ""), **dict(zip(LETTERS, cells, strict=False))}
        if options:
            row = {**row, "options": options, "choices": options}
        sample = super().from_answer(row, number)
        if options and sample.options != tuple(options):  # where the question's text was to hold them
            sample = replace(sample, options=tuple(options))
        self.check_options(sample)
        return sample

    def check_options(self, sample: Sample) -> None:
        """Refuse to look for a letter where no option is known: every answer would be wrong."""
        if not sample.options:
            raise InputError(
                f"benchmark {self.name!r}, sample {sample.sample_id!r}: no options; give a list "
                "'options', or 'A', 'B', … as VLMEvalKit does."
            )

    # --- prompt ---------------------------------------------------------------------------------
    def prompt(self, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return self.lmms_prompt(sample)
        hint, question = split_hint(sample.question)
        options = [f"{letter}. {option}" for letter, option in lettered(sample.options).items()]
        if self.style == "internvl":
            lines = [*([hint] if hint else []), question, *options]
            return "\n".join([*lines, LETTER] if options else lines)
        lines = [*([f"Hint: {hint}"] if hint else []), f"Question: {question}"]
        if options:
            ask = "Please select the correct answer from the options above."
            lines += ["Options:", *options, ask if self.style == "qwen" else f"{ask} "]
        prompt = "\n".join([*lines, ""])
        return prompt.rstrip() if self.style == "qwen" else prompt

    def lmms_prompt(self, sample: Sample) -> str:
        """lmms-eval's prompt: the question, its options, an instruction."""
        options = [f"{letter}. {option}" for letter, option in lettered(sample.options).items()]
        return "\n".join([split_hint(sample.question)[1], *options, LETTER])

    # --- scoring --------------------------------------------------------------------------------
    def parse(self, prediction: str, sample: Sample, protocol: str = DEFAULT_PROTOCOL) -> str | None:
        self.check_protocol(protocol)
        if protocol == LMMS_EVAL:
            return self.lmms_parse(prediction, sample)
        letter = infer_option(prediction, lettered(sample.options), protocol == MS_VLMEVAL)
        return None if letter == REFUSED else letter

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        raise NotImplementedError

    # --- aggregate ------------------------------------------------------------------------------
    def report(self, rows: pd.DataFrame) -> dict[str, float]:
        """Fractions, as VLMEvalKit prints them: overall, and per level of category."""
        from hawk.benchmarks.bases.dataset import levels

        result = {"Overall": self.aggregate(rows) / 100.0}
        parts = levels(rows)
        for level in reversed(parts.columns):
            for one in sorted(set(parts[level].dropna()) - {""}):
                result[one] = self.aggregate(rows[parts[level] == one]) / 100.0
        return result


# --- options inside the question text ----------------------------------------------------------
_MARKS = (
    r"(?:^|(?<=\s)){}\.\s*",  # A. left
    r"(?:^|(?<=\s))\({}\)\s*",  # (A) left
    r"(?:^|(?<=\s)){}:\s*",  # A: left
    r"(?:^|(?<=\s)){}\)\s*",  # A) left
)
_LEAD = re.compile(r"\s*(?:Options|Choices)\s*:?\s*$", re.IGNORECASE)


def split_options(question: str) -> tuple[str, tuple[str, ...]]:
    """The question without its options, and the options; none if it has no run of A, B, ….

    Of several runs the last is taken: a question may itself speak of points A and B.
    """
    best: tuple[int, str, tuple[str, ...]] = (-1, question, ())
    for mark in _MARKS:
        starts = list(re.finditer(mark.format("A"), question))
        for start in reversed(starts):
            options, position, end = [], start.end(), start
            for letter in LETTERS[1:]:
                following = re.compile(mark.format(letter)).search(question, position)
                if following is None:
                    break
                options.append(question[position : following.start()])
                position, end = following.end(), following
            if end is start:
                continue
            options.append(question[position:])
            if start.start() > best[0]:
                stem = _LEAD.sub("", question[: start.start()].rstrip())
                best = (start.start(), stem.rstrip(), tuple(map(_option, options)))
            break
    return best[1], best[2]


def _option(text: str) -> str:
    return text.strip().rstrip(",;").rstrip()
