"""How the harnesses bring two free-form answers to one form before they compare them.

Both go back to the VQA challenge's evaluation and differ in details that change scores, so each
is written out: ``vqa_text`` is VLMEvalKit's (``vlmeval/dataset/utils/vqa_eval.py``), ``evalai_text``
is lmms-eval's (``lmms_eval/tasks/_task_utils/vqa_eval_metric.py``).
"""

from __future__ import annotations

import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_DIGITS_COMMAS_DIGIT = re.compile(r"\d,+\d")
_PERIOD_AWAY_FROM_DIGITS = re.compile(r"(?<!\d)\.(?!\d)")
_PERIOD_BEFORE_NO_DIGIT = re.compile(r"\.(?!\d)")

# Both harnesses hand a flag of value 32 to `re.sub` where it expects the count: from the 33rd on,
# periods stay. Kept, because scores must be theirs.
_PERIODS_REMOVED = 32

_ARTICLES = {"a", "an", "the"}
_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(value) for value, word in enumerate(_DIGIT_WORDS)} | {"none": "0"}

# Contractions of the VQA evaluation. An answer that lacks one of the apostrophes gets it back.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_RESTORED = {
    word[:i] + word[i + 1 :]: word
    for word in _CONTRACTIONS.split()
    for i, letter in enumerate(word)
    if letter == "'"
}
_RESTORED["somebody'd"] = "somebodyd"  # the one entry of the original list that runs backwards


def _without_punctuation(text: str, comma: re.Pattern[str], period: re.Pattern[str]) -> str:
    """A mark that touches a space is deleted, any other becomes a space.

    One comma between digits anywhere ("1,000") makes every mark a deletion.
    """
    has_thousands = comma.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        touches_space = mark + " " in text or " " + mark in text
        result = result.replace(mark, "" if touches_space or has_thousands else " ")
    return period.sub("", result, count=_PERIODS_REMOVED)


def without_punctuation(text: str) -> str:
    """VLMEvalKit's ``process_punctuation``, also the first step of its yes/no rule."""
    return _without_punctuation(text, _DIGIT_COMMA_DIGIT, _PERIOD_AWAY_FROM_DIGITS)


def _words(text: str) -> str:
    """Lower case, number words as digits, no articles, apostrophes restored."""
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)


def vqa_text(text: str) -> str:
    """VLMEvalKit's form of an answer (``process_answer``)."""
    return _words(without_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))


def evalai_text(text: str) -> str:
    """lmms-eval's form of an answer (``EvalAIAnswerProcessor``)."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    return _words(_without_punctuation(text, _DIGITS_COMMAS_DIGIT, _PERIOD_BEFORE_NO_DIGIT))
