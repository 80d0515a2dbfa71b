"""The scoring rules that several benchmarks share, each once; where each comes from is said there.

A rule takes text and gives text (an extraction) or a number in [0, 1] (a score). None raises on any
string. Option letters are in :mod:`hawk.benchmarks.rules.choices`, answer forms in
:mod:`hawk.benchmarks.rules.normalise`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence

from hawk.benchmarks.rules.cells import answers, items, single
from hawk.benchmarks.rules.normalise import without_punctuation
from hawk.core.errors import InputError

UNKNOWN = "Unknown"


# --- yes or no -----------------------------------------------------------------------------------
def yes_or_no(text: str) -> str:
    """``Yes`` or ``No`` if exactly one of the two words occurs, else ``Unknown``.

    VLMEvalKit ``yorn.py:YOrN_Extraction``. Marks that the VQA routine keeps (``*``, ``:``) stay
    part of the word, so ``**Yes**`` is Unknown.
    """
    words = without_punctuation(text.lower()).split()
    yes, no = "yes" in words, "no" in words
    if yes == no:
        return UNKNOWN
    return "Yes" if yes else "No"


def yes_no_answer(value: object, words: Mapping[str, str] = {}) -> str:
    """``Yes`` or ``No`` as a reference: the word in any case, with or without a full stop.

    words: further ways in which a table writes it. Raises InputError for anything else.
    """
    answer = single(answers(value))
    word = answer.rstrip(".").capitalize()
    if word not in ("Yes", "No"):
        word = words.get(answer, "")
    if not word:
        allowed = ", ".join(["yes", "no", *words])
        raise InputError(f"the answer is {answer!r}; allowed: {allowed}.")
    return word


def yes_or_no_prefix(text: str) -> str:
    """``yes``, ``no`` or ``other``, looked for in the first four characters (lmms-eval, MME)."""
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text, "other")
    return next((word for word in ("yes", "no") if word in text[:4]), "other")


# --- free answers --------------------------------------------------------------------------------
def vqa_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """Agreement with ten annotators, each left out in turn; both sides in one form already.

    Per annotator min(1, matches among the others / 3); the mean over annotators (VQA challenge;
    VLMEvalKit ``vqa_eval.py:process_line``, lmms-eval ``textvqa_process_results``).
    """
    if not annotators:
        return 0.0
    matches = sum(given == answer for given in annotators)
    scores = [min(1.0, (matches - (given == answer)) / 3) for given in annotators]
    return sum(scores) / len(scores)


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_match(answer: str, target: str, tolerance: float = 0.05) -> float:
    """Within 5 % of a non-zero numeric target; otherwise equal but for case (ChartQA)."""
    number, goal = _number(answer), _number(target)
    if number is not None and goal:
        return float(abs(number - goal) / abs(goal) <= tolerance)
    return float(answer.lower() == target.lower())


def same_text(answer: str, target: str) -> float:
    """Equal after lower-casing and stripping (VLMEvalKit method ``accuracy``: GQA, OCR-VQA)."""
    return float(answer.strip().lower() == target.strip().lower())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def bare_text(text: str) -> str:
    """Lower case without ASCII punctuation; spaces stay (lmms-eval ``exact_match`` with both switches).

    Numpy's string arrays, in which lmms-eval compares, drop trailing NULs and whitespace.
    """
    return text.lower().translate(_NO_PUNCTUATION).rstrip("\0")


def contains_reference(text: str, references: Sequence[str], clean: Callable[[str], str]) -> float:
    """1 if any reference, cleaned like the text, is part of the text (OCRBench)."""
    text = clean(text)
    return float(any(clean(reference) in text for reference in references))


def ocr_text(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def formula_text(text: str) -> str:
    """A formula loses its spaces and keeps its case (OCRBench, handwritten mathematics)."""
    return text.strip().replace("\n", " ").replace(" ", "")


def edit_distance(first: str, second: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
    return row[-1]


def anls(answer: str, references: Sequence[str], threshold: float = 0.5, raw_length: bool = False) -> float:
    """1 - distance / length of the nearest reference; below the threshold 0 (DocVQA, InfoVQA).

    ``raw_length``: ms-vlmeval 0.0.18 measures the length before surplus spaces are removed.
    """

    def spaced(text: str) -> str:
        return " ".join(text.strip().lower().split())

    def loss(reference: str) -> float:
        a, b = spaced(reference), spaced(answer)
        # Upper case, as there: it may be longer ("ß").
        pair = (reference.upper(), answer.upper()) if raw_length else (a, b)
        longest = max(map(len, pair))
        return edit_distance(a, b) / longest if longest else 0.0

    best = 1.0 - min(map(loss, references), default=1.0)
    return best if best >= threshold else 0.0


# --- letters in video benchmarks -----------------------------------------------------------------
# Two pairs run together: upstream lacks a comma after "option is" and after "Best answer:", so
# none of the four is removed. Hence "Best option: A" reads B. Kept, because scores must be theirs.
_VIDEO_LEAD_INS = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
    "Answer:",
    "Option:",
)


def first_letter(text: str, letters: str = "ABCD") -> str | None:
    """The first option letter after known lead-ins are removed, even inside a word.

    VLMEvalKit ``videomme.py``, ``worldsense.py``, ``longvideobench.py:extract_characters_regex``.
    """
    text = text.strip()
    for lead_in in _VIDEO_LEAD_INS:
        text = text.replace(lead_in, "")
    match = re.search(f"[{letters}]", text)
    return match[0] if match else None


def any_letter(text: str, options: Mapping[str, str]) -> str:
    """The option letter that occurs anywhere in the text; ``A`` where nothing can be read.

    lmms-eval ``worldsense/utils.py:parse_multi_choice_response``: of several letters the one that
    stands last in parentheses, else the first of the options; long texts without a letter are
    searched for an option's content.
    """
    for mark in (",", ".", "!", "?", ";", ":", "'"):
        text = text.strip(mark)
    text = f" {text} "
    named = [letter for letter in options if letter in text]
    if named:
        return max(named, key=lambda letter: text.rfind(f"({letter})"))
    if len(text.split()) > 5:
        text = text.lower()
        named = [letter for letter, option in options.items() if option.lower() in text]
        if named:
            return max(named, key=lambda letter: text.rfind(options[letter].lower()))
    return "A"


# --- answers as stored ---------------------------------------------------------------------------
def listed(answer: object) -> tuple[str, ...]:
    """The answers in a cell: a list, the text of a list, or one answer; a null within a list is ""."""
    if answer is None:
        return ()
    return tuple("" if cell is None else str(cell) for cell in items(answer))
