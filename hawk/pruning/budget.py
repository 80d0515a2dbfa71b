"""How many visual tokens remain. The one place where a ratio becomes a count."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import ceil, floor

from hawk.core.errors import InputError, unknown

ROUNDING = ("ceil", "floor", "round")

# Decimal also takes 0_5, digits of other scripts, and 1e-999999999, of which no machine makes a fraction.
_WRITTEN = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")


def exact_ratio(value: object) -> Fraction:
    """A pruning ratio in [0, 1) with at most four decimals, exactly.

    ``0.8`` is taken as the decimal that was written, not as its binary neighbour: otherwise
    1 - 0.8 is a little more than 0.2 and ``ceil`` keeps one token too many.
    """
    try:
        decimal = Decimal(str(value))
    except InvalidOperation:
        raise InputError(f"pruning_ratio {value!r} is not a number; it must be in [0, 1).") from None
    if not decimal.is_finite() or not 0 <= decimal < 1:
        raise InputError(
            f"pruning_ratio {value!r} is outside [0, 1): it is the fraction of visual tokens removed."
        )
    if not _WRITTEN.fullmatch(str(value).strip()):
        raise InputError(
            f"pruning_ratio {value!r} is not written as a number is; in [0, 1) write it as 0.8 or 8e-1."
        )
    ratio = Fraction(decimal)
    if (ratio * 10_000).denominator != 1:
        raise InputError(f"pruning_ratio {value!r} has more than four decimals.")
    return ratio


def ratio_text(value: object) -> str:
    """The canonical decimal of a ratio, as files carry it: 0.80 → "0.8", 0 → "0"."""
    exact_ratio(value)
    number = Decimal(str(value)).normalize()
    return format(number if number else Decimal(0), "f")  # and no "-0"


def kept_count(tokens: int, ratio: object, rounding: str = "ceil") -> int:
    """Visual tokens kept of ``tokens``: rounded tokens x (1 - ratio), at least 1 (METHOD: authors)."""
    if rounding not in ROUNDING:
        raise unknown("rounding", rounding, ROUNDING)
    if tokens == 0:
        return 0
    exact = tokens * (1 - exact_ratio(ratio))
    # Half a token rounds up, on every platform; Python's round() would go to the even neighbour.
    count = {"ceil": ceil(exact), "floor": floor(exact), "round": floor(exact + Fraction(1, 2))}
    return max(1, count[rounding])
