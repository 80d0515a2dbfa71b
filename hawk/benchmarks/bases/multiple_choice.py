"""Questions with lettered options: what AI2D, RealWorldQA, ScienceQA, MMBench and MMStar share.

VLMEvalKit ``image_mcq.py`` with exact matching. The letter in an answer is inferred by
:func:`hawk.benchmarks.rules.choices.infer_option`; what cannot be read is wrong, never a random guess.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hawk.benchmarks.base import DEFAULT_PROTOCOL, Sample
from hawk.benchmarks.bases.dataset import LEVEL, DatasetBenchmark, levels
from hawk.benchmarks.rules.cells import answers, is_empty, options, options_by_letter, single, text, trimmed
from hawk.benchmarks.rules.choices import REFUSED, infer_option
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


def as_letter(answer: str, options: Sequence[str]) -> str:
    """An answer given as the number of an option from 0, or as its letter already."""
    is_index = answer.isdecimal() and int(answer) < len(options)
    return LETTERS[int(answer)] if is_index else answer


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
    def as_references(self, value: Any, options: Sequence[str] = ()) -> tuple[str, ...]:
        """One letter, of an option that is there."""
        text_of_answer = single(answers(value))
        answer = self.letter(text_of_answer, options)
        if answer not in (lettered(options) if options else LETTERS):
            raise InputError(
                f"answer {text_of_answer!r} is none of the {len(lettered(options)) or 26} options "
                f"({', '.join(lettered(options)) or 'A, B, …'})."
            )
        return (answer,)

    def letter(self, answer: str, options: Sequence[str]) -> str:
        """An answer as the benchmark's table writes it → its letter."""
        return answer

    def options_of(self, value: Any, sample_id: str) -> tuple[str, ...]:
        """The options in a cell; anything else is an error with the sample's name."""
        try:
            return options(value)
        except InputError as error:
            raise InputError(f"benchmark {self.name!r}, sample {sample_id!r}: {error}") from None

    def from_tsv(self, row: Mapping[str, Any], number: int) -> Sample | None:
        category = LEVEL.join(
            level_name
            for level_name in (text(row.get("category")), text(row.get("l2-category")))
            if level_name
        )
        return self.sample(
            row,
            str(row["index"]),
            with_hint(text(row.get("hint")), text(row["question"]) or ""),
            options_by_letter(row),
            category or None,
        )

    def from_answer(self, row: Mapping[str, Any], number: int) -> Sample:
        """Options may be a list, or one per letter, whichever of the two tables has it so."""
        listed_ones = next(
            (row[column] for column in ("options", "choices") if not is_empty(row.get(column))), None
        )
        given = self.options_of(listed_ones, text(row.get("sample_id")) or str(number))
        cells = given or options_by_letter(row)
        if cells:  # an empty one is no missing column
            others = {column: cell for column, cell in row.items() if column not in LETTERS}
            row = {**others, **dict.fromkeys("AB", ""), **dict(zip(LETTERS, cells, strict=False))}
        if given:
            row = {**row, "options": given, "choices": given}
        sample = super().from_answer(row, number)
        self.check_options(sample)
        return sample

    def check_options(self, sample: Sample) -> None:
        """Refuse to look for a letter where no option is known: every answer would be wrong."""
        if not sample.options:
            raise InputError(
                f"benchmark {self.name!r}, sample {sample.sample_id!r}: no options; give a list "
                "'options', or 'A', 'B', … as VLMEvalKit does."
            )

    def wrong_answers(self, sample: Sample) -> tuple[str, ...]:
        return tuple(letter for letter in lettered(sample.options) if letter not in sample.references)

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
        # Where no option could be read from the question, a letter is still one.
        options = lettered(sample.options) or dict.fromkeys(LETTERS[:4], "")
        letter = infer_option(prediction, options, protocol == MS_VLMEVAL)
        return None if letter == REFUSED else letter

    def lmms_parse(self, prediction: str, sample: Sample) -> str | None:
        raise NotImplementedError

    # --- aggregate ------------------------------------------------------------------------------
    def report(self, rows: pd.DataFrame) -> dict[str, float]:
        """Fractions, as VLMEvalKit prints them: overall, and per level of category."""
        result = {"Overall": self.aggregate(rows) / 100.0}
        parts = levels(rows)
        for level in reversed(parts.columns):
            for category in sorted(set(parts[level].dropna()) - {""}):
                result[category] = self.aggregate(rows[parts[level] == category]) / 100.0
        return result


# --- options inside the question text ----------------------------------------------------------
_MARKS = (
    r"(?:^|(?<=\s)){}\.\s*",  # A. left
    r"(?:^|(?<=\s))\({}\)\s*",  # (A) left
    r"(?:^|(?<=\s)){}:\s*",  # A: left
    r"(?:^|(?<=\s)){}\)\s*",  # A) left
)
_LEAD = re.compile(r"\s*(?:Options|Choices)\s*:?\s*$", re.IGNORECASE)


def split_options(question: str, answer: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The question without its options, and the options; none if it has no run of A, B, ….

    Of several runs the last is taken: a question may itself speak of points A and B. Where the run does
    not reach ``answer``, a letter, marks at the start of a line are taken in any form ("B text" among
    "A. text"), and a letter whose mark is missing has an empty option, so that the others keep theirs.
    """
    stem, options = _marked(question)
    if answer is None or len(answer) != 1 or answer not in LETTERS or answer in lettered(options):
        return stem, options
    loose = _loosely_marked(question)
    return loose if answer in lettered(loose[1]) else (stem, options)


def _marked(question: str) -> tuple[str, tuple[str, ...]]:
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
                best = (start.start(), _stem(question, start.start()), trimmed(map(_option, options)))
            break
    return best[1], best[2]


_LINE_MARK = re.compile(r"^[ \t]*\(?([A-Z])(?:[.:)][ \t]*|[ \t]+)", re.MULTILINE)


def _loosely_marked(question: str) -> tuple[str, tuple[str, ...]]:
    """The last run of ascending letters from A that begin a line, whatever follows them."""
    run: list[re.Match[str]] = []
    for mark in _LINE_MARK.finditer(question):
        if mark[1] == "A":
            run = [mark]
        elif run and mark[1] > run[-1][1]:
            run.append(mark)
    if len(run) < 2:
        return question, ()
    cells = dict.fromkeys(LETTERS, "")
    for mark, following in zip(run, [*run[1:], None], strict=True):
        cells[mark[1]] = _option(question[mark.end() : following.start() if following else None])
    return _stem(question, run[0].start()), trimmed(cells.values())


def _stem(question: str, end: int) -> str:
    return _LEAD.sub("", question[:end].rstrip()).rstrip()


def _option(cell: str) -> str:
    """An option without the comma behind it; a stored "nan" counts as no option."""
    return text(cell.strip().rstrip(",;").rstrip()) or ""
