"""What a cell of a table holds: nothing, a text, answers, options. One reading for every benchmark.

Tables come from parquet, JSONL, CSV, TSV and xlsx, and an empty cell looks different in each: null, NaN,
"", and the texts "nan" and "null" that a round trip through pandas leaves behind. All are empty here.
"None" and "NA" are texts: an option may say so.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Any

from hawk.core.errors import InputError

_NO_TEXT = (Mapping, bytes, set, date, time, timedelta)  # what can be written in several ways
_NOTHING = frozenset({"", "nan", "null", "<na>"})


def text(value: object) -> str | None:
    """A cell as text; None for an empty one."""
    if value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType":
        return None
    value = str(value)
    return None if value.strip().lower() in _NOTHING else value


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing; an empty list, dict or bytes included."""
    if isinstance(value, bytes | Mapping) or is_list(value):
        return len(value) == 0  # type: ignore[arg-type]
    return text(value) is None


def is_list(value: object) -> bool:
    """A list or tuple, or an array of numpy or Arrow."""
    return isinstance(value, list | tuple) or (hasattr(value, "tolist") and getattr(value, "ndim", 1) == 1)


def items(value: Any) -> list[Any]:
    """The items of a list, an array, or the text of a list; one item where it is none of these."""
    if isinstance(value, str):
        parsed = _parsed(value)
        return [value] if parsed is None else parsed
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) else [value]


def _parsed(value: str) -> list[Any] | None:
    """The list that a text spells in Python or JSON; None if it spells no list."""
    value = value.strip()
    if not value.startswith("["):
        return None
    for read in (ast.literal_eval, json.loads):
        try:
            literal = read(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return literal if isinstance(literal, list) else None
    return None


def answers(value: Any, split: bool = True) -> tuple[str, ...]:
    """The answers in a cell, empty ones left out; at least one, or an InputError.

    split: the text of a list is its items.
    """
    texts = [text(cell) for cell in scalars(value, "an answer", split)]
    references = tuple(cell for cell in texts if cell is not None)
    if not references:
        raise InputError(f"the answer is {_shown(value)}; there is nothing to compare with.")
    return references


def scalars(value: Any, what: str, split: bool = True) -> list[Any]:
    """The items of a cell, none of which is itself a list or a dict."""
    cells = items(value) if split or not isinstance(value, str) else [value]
    for cell in cells:
        if is_list(cell) or isinstance(cell, _NO_TEXT):
            raise InputError(
                f"{_shown(cell)} is no {what.split()[-1]}; a text or a list of texts is allowed."
            )
    return cells


def options(value: Any) -> tuple[str, ...]:
    """The options in a cell: a list, or the text of one. An empty option is "", so letters stay.

    Raises InputError for anything else, as a text that is no list: its characters are no options.
    """
    if is_empty(value):
        return ()
    if isinstance(value, Mapping):
        return options_by_letter(value)
    if not is_list(value) and (not isinstance(value, str) or _parsed(value) is None):
        raise InputError(f"options are {_shown(value)}; a list is allowed, or the text of one.")
    texts = trimmed(text(cell) or "" for cell in scalars(value, "an option"))
    if isinstance(value, str) and len(texts) == 1:  # numpy's "['a' 'b']" has no commas
        raise InputError(f"options are {_shown(value)}, a list of one; write commas between them.")
    if len(texts) > 26:
        raise InputError(f"{len(texts)} options; at most 26 have a letter.")
    return texts


def options_by_letter(cells: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells A, B, … of a row up to the last that has something; empty ones are ""."""
    return trimmed(text(cells.get(letter)) or "" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def trimmed(texts: Any) -> tuple[str, ...]:
    """Options without the empty ones behind the last."""
    out = list(texts)
    while out and not out[-1]:
        out.pop()
    return tuple(out)


def single(answers: Sequence[str]) -> str:
    """The one answer of a benchmark that has one; the same one twice is one."""
    distinct = list(dict.fromkeys(answer.strip() for answer in answers))
    if len(distinct) != 1:
        raise InputError(f"the answers are {_shown(list(distinct))}; one is allowed.")
    return distinct[0]


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


shown = _shown
