"""Checks of values that a parsed file holds; every error says where, which value, and what is allowed.

A file from outside may hold anything that JSON can write: null for a number, 1e999, a name with escape
sequences that steer a terminal. Each function returns the value in its type, or raises InputError.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hawk.core.errors import InputError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")  # of benchmarks, variants, runs: part of paths

RATIO = re.compile(r"0(\.[0-9]{1,4})?")


def shown(value: object) -> str:
    """A value in a message: one line of printable characters, cut where it is long."""
    text = ascii(value) if isinstance(value, bytes) else repr(value)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= 80 else text[:79] + "…"


def one_line(text: object) -> str:
    """A message on one line that cannot steer a terminal, whatever a library or a file put into it."""
    words = " ".join(part.strip() for part in str(text).splitlines() if part.strip())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def refuse(where: str, value: object, allowed: str) -> InputError:
    return InputError(f"{where} is {shown(value)}; it must be {allowed}.")


def read_json(path: str | Path, what: str) -> Any:
    """The JSON value of a file; a key that is written twice is refused."""
    try:
        return parse_json(Path(path).read_bytes(), f"{path}: not {what}")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder, not {what}.") from None


def parse_json(content: bytes | str, complaint: str) -> Any:
    """The JSON value of a text. NaN and infinities are left for whoever reads the value to refuse.

    complaint: what the error says, before the reason in brackets.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{complaint} (the key {shown(twice)} is written twice).")
        return members

    try:
        content = content.decode("utf-8") if isinstance(content, bytes) else content
        found = json.loads(content, object_pairs_hook=once)
        if "\\u" in content:  # an escape can spell half of a surrogate pair, which no file can hold
            json.dumps(found, ensure_ascii=False).encode("utf-8")
        return found
    except RecursionError:
        raise InputError(f"{complaint} (nested too deeply).") from None
    except InputError:
        raise
    except ValueError as error:  # also of bytes that are no UTF-8, and of digits without end
        raise InputError(f"{complaint} ({str(error).splitlines()[0]}).") from None


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, each with where it stands; empty lines are left out."""
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            row = parse_json(line, f"{where}: not JSON")
            if not isinstance(row, dict):
                raise InputError(f"{where}: {shown(row)}; an object is allowed.")
            yield where, row


def mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise refuse(where, value, "a table of names and values")
    return dict(value)


def member(value: Mapping[str, Any], key: str, where: str = "") -> Any:
    if key not in value:
        raise InputError(f"the key {f'{where}.{key}' if where else key!r} is missing.")
    return value[key]


def text(value: Any, where: str) -> str:
    """Words that are safe to print: some, on one line, without control characters."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise refuse(where, value, "text of printable characters on one line")
    return value


def name(value: Any, where: str) -> str:
    """A name that may become part of a path."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise refuse(
            where, value, "1 to 64 letters, digits, dots, underscores and dashes, with no dot or dash first"
        )
    return value


def whole(value: Any, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise refuse(where, value, f"a whole number from {low} to {high}")
    return int(value)


def number(value: Any, where: str, low: float = -math.inf, high: float = math.inf) -> float:
    bounds = "" if (low, high) == (-math.inf, math.inf) else f" from {low:g} to {high:g}"
    # A whole number beyond the floats has no float: compared by its digits alone.
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e308:
        raise refuse(where, value, f"a finite number{bounds}")
    if not math.isfinite(value) or not low <= value <= high:
        raise refuse(where, value, f"a finite number{bounds}")
    return value


def listed(value: Any, where: str, length: int | None = None) -> list[Any]:
    if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
        raise refuse(where, value, "a list" + ("" if length is None else f" of {length} values"))
    return list(value)


def choice(value: Any, where: str, allowed: Collection[Any]) -> Any:
    # By type as well: True is no 1.
    if not any(type(value) is type(option) and value == option for option in allowed):
        raise refuse(where, value, "one of " + ", ".join(map(repr, allowed)))
    return value


_TYPES: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "None": (type(None), "null"),
}


def check_type(annotation: str, value: Any, where: str) -> None:
    """Refuse a value that is not of an annotation as it is written; other types than plain ones are left."""
    kinds = annotation.split(" | ")
    if any(kind not in _TYPES for kind in kinds):
        return
    right = any(isinstance(value, _TYPES[kind][0]) for kind in kinds)
    if isinstance(value, bool) and "bool" not in kinds:  # Python's True is a 1
        right = False
    if isinstance(value, Real) and not math.isfinite(value):
        right = False
    if not right:
        raise refuse(where, value, " or ".join(_TYPES[kind][1] for kind in kinds))


def check_bounds(bounds: str, value: Any, where: str, layers: int | None = None) -> None:
    """Refuse a number outside bounds as a pruning method writes them; what is no number is left.

    layers: of the model, where it is known.
    """
    if not isinstance(value, Real):
        return
    low, _, high = bounds.removeprefix("above ").partition("..")
    above = bounds.startswith("above ")
    if high == "layers":
        high = "" if layers is None else str(layers - 1)
    if not float(low) <= float(value) <= float(high or "inf") or (above and value == float(low)):
        words = f"above {low}" if above else f"from {low}" if high else f"{low} or more"
        most = (" and at most " if above else " to ") + high if high else ""
        raise refuse(where, value, words + most)
