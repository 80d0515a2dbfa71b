"""The one exception for a user's mistake; the command line prints it without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A wrong input: its message names the thing, the value and what is allowed."""


def unknown(what: str, value: object, allowed: Iterable[object]) -> InputError:
    """An :class:`InputError` for a value outside a closed set, with the nearest allowed one."""
    return misspelt(f"unknown {what} {value!r}", value, allowed)


def misspelt(text: str, value: object, allowed: Iterable[object]) -> InputError:
    """As :func:`unknown`, in words of one's own."""
    names = sorted(str(name) for name in allowed)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"{text}.{hint} Allowed: {', '.join(names) or 'none'}.")
