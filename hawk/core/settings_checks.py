"""What the settings in a file's provenance must be, wherever they are written.

Readers compare settings, print them and look into them; a file from a damaged disk, another program or a
hand may hold anything there. A setting that is not written, or is null where nothing was known, is left to
whoever needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hawk.core import values
from hawk.core.variants import COMPARISON_KEYS

Check = Callable[[Any, str], Any]


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse the first setting that cannot be, by name."""
    for key, value in settings.items():
        if key in _CHECKS and value is not None:
            _CHECKS[key](value, f"settings.{key}")


def required(settings: Mapping[str, Any], *keys: str) -> None:
    """Refuse settings without one of the keys, or with null under it."""
    for key in keys:
        if values.member(settings, key, "settings") is None:
            raise values.refuse(f"settings.{key}", None, "written")


def _whole(low: int) -> Check:
    return lambda value, where: values.whole(value, where, low, 10**12)


def _table_of(check: Check, *needed: str) -> Check:
    def checked(value: Any, where: str) -> None:
        table = values.mapping(value, where)
        for key in needed:
            values.member(table, key, where)
        for key, inner in table.items():
            check(inner, f"{where}.{key}")

    return checked


def _anything(value: Any, where: str) -> None: ...


def _text_or_null(value: Any, where: str) -> None:
    if value is not None:
        values.text(value, where)


def _statistics(value: Any, where: str) -> None:
    table = values.mapping(value, where)
    confidence = values.number(values.member(table, "confidence", where), f"{where}.confidence", 0, 1)
    if not 0 < confidence < 1:
        raise values.refuse(f"{where}.confidence", confidence, "between 0 and 1")
    values.whole(values.member(table, "resamples", where), f"{where}.resamples", 1, 10**9)


def _ratios(value: Any, where: str) -> None:
    for ratio in values.listed(value, where):
        if not isinstance(ratio, str) or not values.RATIO.fullmatch(ratio):
            raise values.refuse(where, value, "a list of decimals in [0, 1), as text")


def _variants(value: Any, where: str) -> None:
    for name, variant in values.mapping(value, where).items():
        values.name(name, f"a variant of {where}")
        _variant(variant, f"{where}.{name}")


def _variant(value: Any, where: str) -> None:
    values.text(values.member(values.mapping(value, where), "method", where), f"{where}.method")


_CHECKS: dict[str, Check] = {
    "protocol": values.text,
    "device": values.text,
    "hardware": values.text,
    "reference": values.text,
    "role": values.text,
    "seed": _whole(0),
    "threads": _whole(1),
    "batch_size": _whole(1),
    "rows_per_batch": _whole(1),
    "requested": _whole(1),
    "available": _whole(0),
    "model": _table_of(_text_or_null),
    "geometry": _table_of(_whole(1)),
    "preprocessing": _table_of(_anything),
    "token_score": _table_of(_anything),
    "weights": _table_of(values.text, "source", "sha256"),
    "scoring": _table_of(_anything),
    "rules": _table_of(_text_or_null, *COMPARISON_KEYS),
    "majority_answer": _table_of(_text_or_null),
    "data": _table_of(_anything),
    "statistics": _statistics,
    "ratios": _ratios,
    "variants": _variants,
    "variant": _variant,
    "cost": _table_of(_anything, "max_new_tokens", "repeats", "warmup"),
}
