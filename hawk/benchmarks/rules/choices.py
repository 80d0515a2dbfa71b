"""Which option a model's text names: one rule per harness.

``infer_option`` is VLMEvalKit's (``vlmeval/utils/matching_util.py:can_infer``), in its present form
and in the plainer one of ms-vlmeval 0.0.18, which the paper's authors ran. ``extract_option`` is
lmms-eval's shared extractor (``lmms_eval/tasks/_task_utils/mcq_extract.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

REFUSED = "Z"  # VLMEvalKit's letter for "no option"; always wrong

_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_API_FAILURE = "Failed to obtain answer via API"
_TO_SPACE = str.maketrans({mark: " " for mark in ".()[],:;!*#{}"})
_ANSWER_IS = re.compile(r"answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
_LETTER_WITHIN_LAST = 4  # tokens


def infer_option(text: str, options: Mapping[str, str], plain: bool = False) -> str | None:
    """The option letter that ``text`` names, ``REFUSED``, or None where it cannot be told.

    ``plain`` is the rule of ms-vlmeval 0.0.18. The present rule takes a letter only among the last
    four tokens, reads "answer is X", and looks for an option's text only in short answers.
    """
    letter = _letter(text, options, plain)
    return letter if letter is not None else _by_content(text, options, plain)


def _letter(text: str, options: Mapping[str, str], plain: bool) -> str | None:
    if _API_FAILURE in text:
        return None
    if any(phrase in text for phrase in _REFUSALS):
        return REFUSED
    tokens = text.translate(_TO_SPACE).split()
    named = [letter for letter in options if letter in tokens]
    if len(named) == 1:
        if plain or tokens.index(named[0]) >= len(tokens) - _LETTER_WITHIN_LAST:
            return named[0]
    elif not named and REFUSED in tokens:
        return REFUSED
    if not plain and (match := _ANSWER_IS.search(text)):
        letter = match.group(1).upper()
        if letter in options:
            return letter
    return None


def _by_content(text: str, options: Mapping[str, str], plain: bool) -> str | None:
    text = text.lower()
    if not plain and len(text) > 2 * sum(map(len, options.values())):
        return None
    named = [letter for letter, option in options.items() if option.lower() in text]
    return named[0] if len(named) == 1 else None


# lmms-eval's forms of an answer, the strongest first.
_START, _END, _PHRASE, _PARENTHESES, _PERIOD, _COLON, _RIGHT, _SPACE, _ANYWHERE = range(9, 0, -1)
_FORMS = (
    (_PARENTHESES, "({})"),
    (_PERIOD, "{}."),
    (_COLON, "{}:"),
    (_RIGHT, "{})"),
    (_SPACE, "{} "),
)
# A longer lead-in may begin later than a shorter one that it contains, so all are tried.
_LEAD_INS = (
    *(f"{head}answer is" for head in ("", "the ", "correct ", "the correct ", "best ", "the best ")),
    *(f"{head}option is" for head in ("correct ", "the correct ", "best ", "the best ")),
    *(f"{head}choice is" for head in ("", "the ", "correct ", "the correct ")),
    *("my answer is", "my choice is", "i choose", "i select", "i pick"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)


def extract_option(text: str, letters: Sequence[str]) -> str | None:
    """The letter of the strongest form in ``text``; the last one where a form occurs twice."""
    text = text.strip()
    if not text:
        return None
    for mark in (",", ".", "!", "?", ";", ":", "'", '"'):
        text = text.strip(mark)
    bare = text.strip()
    text = f" {text} "

    matches: list[tuple[int, int, str]] = []  # (strength, position, letter)
    for letter in letters:
        for strength, form in _FORMS:
            position = text.rfind(form.format(letter))
            if position >= 0:
                matches.append((strength, position, letter))
        if bare.startswith(letter) and (len(bare) == 1 or not bare[1].isalpha()):
            matches.append((_START, 0, letter))
        if bare.endswith(letter) and (len(bare) == 1 or not bare[-2].isalpha()):
            matches.append((_END, len(text) - 1, letter))
    lowered = text.lower()
    for lead_in in _LEAD_INS:
        start = lowered.find(lead_in)
        if start >= 0:
            for letter in letters:
                position = text.find(letter, start + len(lead_in))
                if position >= 0:
                    matches.append((_PHRASE, position, letter))
    if not matches:
        matches = [(_ANYWHERE, text.rfind(letter), letter) for letter in letters if letter in text]
    return max(matches, key=lambda item: item[:2])[2] if matches else None
