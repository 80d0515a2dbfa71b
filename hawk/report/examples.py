"""figures/head_scores.json, read and checked: what the page shows of a clicked head goes into it unseen."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Any

from hawk.core import values
from hawk.core.errors import InputError

LARGEST = 100_000  # heads, tokens along a side, pixels: far beyond any model
_IMAGE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")


def read_examples(path: str | Path) -> list[dict[str, Any]]:
    """The examples, as :mod:`hawk.steps.kept_tokens` writes them. InputError for a file that is none."""
    raw = values.read_json(path, "example images of a run")
    try:
        examples = values.listed(values.member(values.mapping(raw, "the file"), "examples"), "examples")
        for number, example in enumerate(examples):
            _check(values.mapping(example, f"examples.{number}"), f"examples.{number}")
    except InputError as error:
        raise InputError(f"{path}: {error} Delete the file and run again.") from None
    return examples


def _check(example: dict[str, Any], where: str) -> None:
    def take(key: str) -> Any:
        return values.member(example, key, where)

    values.name(take("benchmark"), f"{where}.benchmark")
    values.text(take("ratio"), f"{where}.ratio")
    _words(take("question"), f"{where}.question")
    values.whole(take("layer"), f"{where}.layer", 0, LARGEST)
    rows, columns, *_ = (
        values.whole(take(key), f"{where}.{key}", 1, LARGEST)
        for key in ("rows", "columns", "width", "height")
    )
    tokens = rows * columns
    for head, scores in enumerate(values.listed(take("scores"), f"{where}.scores")):
        _scores(scores, f"{where}.scores.{head}", tokens)
    kept = values.mapping(take("kept"), f"{where}.kept")
    for variant, cells in kept.items():
        place = f"{where}.kept.{values.name(variant, f'{where}.kept')}"
        token_indices = [values.whole(cell, place, 0, tokens - 1) for cell in values.listed(cells, place)]
        if len(set(token_indices)) != len(token_indices):
            raise InputError(f"{place} names a token twice.")
    for variant, answer in values.mapping(take("answers"), f"{where}.answers").items():
        place = f"{where}.answers.{values.choice(variant, f'{where}.answers', list(kept))}"
        answer = values.mapping(answer, place)
        _words(values.member(answer, "text", place), f"{place}.text")
        values.choice(values.member(answer, "right", place), f"{place}.right", (True, False))
    if not isinstance(take("image"), str) or not _IMAGE.fullmatch(take("image")):
        raise values.refuse(f"{where}.image", take("image"), "a PNG or JPEG as a data URI")


def _words(value: Any, where: str) -> None:
    if not isinstance(value, str):  # a question may have several lines
        raise values.refuse(where, value, "text")


def _scores(value: Any, where: str, tokens: int) -> None:
    """One byte per token, in base64."""
    try:
        count = len(base64.b64decode(value, validate=True)) if isinstance(value, str) else -1
    except (binascii.Error, ValueError):
        count = -1
    if count != tokens:
        raise values.refuse(where, value, f"{tokens} bytes (rows x columns) in base64")
