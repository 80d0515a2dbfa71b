"""Numbers as a reader sees them: rounded, and an empty string where there is none."""

from __future__ import annotations

from typing import Any

import pandas as pd


def number(value: Any, digits: int = 1, sign: bool = False) -> str:
    """A rounded number; an empty string for null, and never ``-0.0``."""
    if value is None or pd.isna(value):
        return ""
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:+.{digits}f}" if sign else f"{rounded:.{digits}f}"


def interval(low: Any, high: Any, sign: bool = False) -> str:
    """``[low, high]`` with one digit."""
    if low is None or pd.isna(low):
        return ""
    return f"[{number(low, sign=sign)}, {number(high, sign=sign)}]"


def p_text(value: Any) -> str:
    """A p value without its leading zero: ``.012``, ``<.001``."""
    if value is None or pd.isna(value):
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
