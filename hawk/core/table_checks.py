"""What the values of a run's tables must be: checked whenever a table is read, whichever columns are read.

A table may come from a damaged disk, another program or a hand. What it says is used only if it can be
true: ranges, finite numbers, no missing names, and columns that agree with each other. Everything here is
vectorised: a run has up to 50,000 score files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hawk.core import values
from hawk.core.drop_checks import drop_rules
from hawk.core.schemas import COST, DROPS, EVALUATION, HEAD_GRADIENTS, SAMPLES, SCORES

TOLERANCE = 1e-6  # of log-probabilities above 0: a sum of rounded ones
KEYS: list[tuple[pa.Schema, tuple[str, ...]]] = [
    (SAMPLES, ("sample_id",)),
    (SCORES, ("sample_id",)),
    (EVALUATION, ("sample_id", "pruning_ratio", "seed")),
    (HEAD_GRADIENTS, ("sample_id",)),
    (DROPS, ("benchmark", "ablation", "layer", "head")),
    (COST, ("variant", "pruning_ratio", "repeat")),
]
# The tables of the comparison, whose columns stand beside the analysis: told by a column of theirs.
SUMMARY_KEYS = {
    "retention": ("variant", "pruning_ratio", "benchmark"),
    "control": ("variant", "control", "pruning_ratio"),
}
_WHOLE = ("layer", "head", "seed", "repeat", "unparsed", "prompt_tokens", "visual_tokens", "kept_tokens")
_FINITE = (
    "reference_value", "ablated_value", "drop", "logprob_drop", "logprob_low", "logprob_high", "noise_floor",
)  # fmt: skip
_ENDS = ("ci_low", "ci_high")
# Of drops, what an estimate does not have.
MEASURED = (
    "reference_value", "ablated_value", "drop", "ci_low", "ci_high", "logprob_drop", "logprob_low",
    "logprob_high", "unparsed", "noise_floor", "is_noise",
)  # fmt: skip
_MILLISECONDS = ("vision_ms", "token_score_ms", "prefill_ms", "decode_ms_per_token", "total_ms")
# Where one column bounds another: (smaller, larger).
_ORDERED = (
    ("kept_tokens", "visual_tokens"), ("visual_tokens", "prompt_tokens"),
    ("ci_low", "ci_high"), ("logprob_low", "logprob_high"), ("margin_low", "margin_high"),
    ("unparsed", "samples"), ("groups", "samples"), ("seed_low", "seed_high"),
    ("difference_low", "difference_high"),
)  # fmt: skip


def problem(table: pa.Table, schema: pa.Schema, first_row: int = 0) -> str | None:
    """The first thing in a table that cannot be, in words; None if there is none.

    table: some or all columns of ``schema``, and of its rows those from ``first_row`` on.
    """
    estimated = _estimated(table, schema)
    for name, bad, allowed in _rules(table, schema):
        if estimated is not None and name in MEASURED:
            bad = bad & ~estimated
        if bad.any():
            row = int(np.argmax(bad))
            value = table.column(name)[row].as_py()
            missing = value is None and pa.types.is_floating(table.schema.field(name).type)
            word = "nan" if missing else values.shown(value)
            return f"{_place(table, row, first_row)} has {name} {word}; {allowed}."
    keys = [key for known, key in KEYS if known is schema]
    keys += [key for column, key in SUMMARY_KEYS.items() if column in schema.names]
    key = next(iter(keys), ())
    if key and all(name in table.column_names for name in key):
        twice = _doubled(table, key)
        if twice is not None:
            return f"{_place(table, twice, first_row)} occurs twice (by {', '.join(key)})."
    return None


def _estimated(table: pa.Table, schema: pa.Schema) -> np.ndarray | None:
    """[rows] whether a row of drops is an estimate, which nothing was measured for; None for other tables."""
    if schema is not DROPS or "estimate" not in table.column_names:
        return None
    return pc.fill_null(table.column("estimate"), False).to_numpy()


def _estimate_rules(table: pa.Table, estimated: np.ndarray) -> Iterator[tuple[str, np.ndarray, str]]:
    for name in table.column_names:
        if name in MEASURED:
            yield "estimate", estimated & ~_nulls(table.column(name)), f"an estimate has no {name}"
    if "intervention" in table.column_names:
        by_gradient = pc.fill_null(pc.equal(table.column("intervention"), "gradient"), False).to_numpy()
        yield "estimate", estimated != by_gradient, "it is true of the intervention gradient, and of no other"


def _is_summary(schema: pa.Schema) -> bool:
    return any(column in schema.names for column in SUMMARY_KEYS)


def _place(table: pa.Table, row: int, first_row: int) -> str:
    for name in ("sample_id", "head", "variant"):
        if name in table.column_names:
            value = table.column(name)[row].as_py()
            return f"row {first_row + row} ({name.partition('_')[0]} {values.shown(value)})"
    return f"row {first_row + row}"


def _rules(table: pa.Table, schema: pa.Schema) -> Iterator[tuple[str, np.ndarray, str]]:
    """(column, [rows] whether the value is wrong, what is allowed)."""
    has = table.column_names
    estimated = _estimated(table, schema)
    if estimated is not None:
        yield from _estimate_rules(table, estimated)
    for name in has:
        for columns, wrong, allowed in _COLUMN_RULES:
            # Summaries are means, and rows of theirs may have none of them.
            if name in columns and not _is_summary(schema):
                yield name, wrong(table.column(name)), allowed
    if "score" in has and "parsed" in has:
        given = table.column("score").to_numpy() != 0
        yield "score", given & _nulls(table.column("parsed")), "it must be 0 where nothing was parsed"
    if schema is DROPS and all(name in has for name in _ENDS):
        # A metric that some resamples do not have (no positive question, say) has no interval; then no end.
        ends = [_numbers(table.column(name)) for name in _ENDS]
        none = np.isnan(ends[0]) & np.isnan(ends[1])
        for name, end in zip(_ENDS, ends, strict=True):
            yield name, ~none & ~np.isfinite(end), "both ends must be finite, or both missing"
    for low, high in _ORDERED:
        if low in has and high in has:
            smaller, larger = table.column(low).to_numpy(), table.column(high).to_numpy()
            yield low, smaller > larger, f"it must be at most {high}"
    if schema is DROPS:
        yield from drop_rules(table)
    if schema is SAMPLES and "images" in has and "video" in has:
        images, video = table.column("images"), table.column("video")
        yield "images", _list_is_empty(images) & _nulls(video), "it must be one image at least, or a video"
        yield "images", _in_items(images, _no_bytes), "it must be files with bytes"
        path = pc.fill_null(pc.utf8_length(pc.struct_field(video, "path")), 0).to_numpy()
        yield (
            "video",
            ~_nulls(video) & _no_bytes(video) & (path == 0),
            "it must be a file with bytes or a path",
        )
    if schema is SAMPLES:
        for name in ("references", "options"):
            if name in has:
                yield name, _in_items(table.column(name), _nulls), "it must be a list of texts"
        if "references" in has:
            texts = _in_items(table.column("references"), lambda items: ~_empty(items))
            yield "references", ~texts, "it must be one answer at least"
        if "relevant" in has:
            boxes = _in_items(table.column("relevant"), _no_box)
            yield "relevant", boxes, "its boxes must be [left, top, right, bottom], right of and below 0"
    if _is_summary(schema):
        for name in ("variant", "benchmark", "control"):
            if name in has:
                yield name, _empty(table.column(name)), "it must be some text"
        for name in ("p_value", "p_adjusted"):
            if name in has:
                p = table.column(name).to_numpy()
                yield name, (p < 0) | (p > 1), "it must be in [0, 1]"
        for name in (field.name for field in schema if pa.types.is_floating(field.type)):
            if name in has:
                yield name, np.isinf(table.column(name).to_numpy()), "it must be finite, or missing"
    if "pruning_ratio" in has:
        yield (
            "pruning_ratio",
            _no_ratio(table.column("pruning_ratio"), schema),
            "it must be a decimal in [0, 1)",
        )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """As floats; what is missing is not a number."""
    return column.to_numpy().astype(np.float64)


def _nulls(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count == 0:
        return np.zeros(len(column), dtype=bool)
    return pc.is_null(column).to_numpy()


def _empty(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.equal(pc.utf8_length(column), 0), True).to_numpy()


def _below(low: float) -> Callable[[pa.ChunkedArray], np.ndarray]:
    def wrong(column: pa.ChunkedArray) -> np.ndarray:
        numbers = _numbers(column)
        return ~((numbers >= low) & (numbers < np.inf))

    return wrong


def _outside(low: float, high: float) -> Callable[[pa.ChunkedArray], np.ndarray]:
    def wrong(column: pa.ChunkedArray) -> np.ndarray:
        numbers = _numbers(column)
        return ~((numbers >= low) & (numbers <= high))

    return wrong


def _not_finite(column: pa.ChunkedArray) -> np.ndarray:
    return ~np.isfinite(_numbers(column))


_COLUMN_RULES: list[tuple[tuple[str, ...], Callable[[pa.ChunkedArray], np.ndarray], str]] = [
    (("score",), _outside(0.0, 1.0), "scores lie in [0, 1]"),
    (
        ("reference_logprob",),
        lambda column: ~_finite_at_most(column, TOLERANCE),
        "it must be finite and at most 0",
    ),
    (
        ("margin", "margin_drop", "margin_low", "margin_high"),
        lambda column: np.isinf(_numbers(column)),
        "it must be finite, or missing",
    ),
    (("margin_size",), lambda column: ~_nulls(column) & _below(0)(column), "it must be 0 or more"),
    (_WHOLE, _below(0), "it must be 0 or more"),
    (("samples", "groups"), _below(1), "it must be 1 or more"),
    (_FINITE, _not_finite, "it must be a finite number"),
    (("noise_floor", *_MILLISECONDS, "kv_cache_bytes"), _below(0), "it must be 0 or more, and finite"),
    (("is_noise", "stopped", "estimate"), _nulls, "it must be true or false"),
    (
        ("first_word_score",),
        lambda column: ~_nulls(column) & _outside(0.0, 1.0)(column),
        "scores lie in [0, 1]",
    ),
    (("sample_id", "group_id", "benchmark", "intervention", "variant"), _empty, "it must be some text"),
    (("question", "prediction"), _nulls, "it must be text"),
]


def _finite_at_most(column: pa.ChunkedArray, high: float) -> np.ndarray:
    numbers = _numbers(column)
    return (numbers > -np.inf) & (numbers <= high)


def _list_is_empty(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(column), 0).to_numpy() == 0


def _in_items(column: pa.ChunkedArray, wrong: Callable[[pa.ChunkedArray], np.ndarray]) -> np.ndarray:
    """[rows] whether something is wrong with any item of a row's list; no item becomes a Python object."""
    bad = np.zeros(len(column), dtype=bool)
    items = pc.list_flatten(column)
    bad[pc.list_parent_indices(column).to_numpy()[wrong(items)]] = True
    return bad


def _no_bytes(files: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.binary_length(pc.struct_field(files, "bytes")), 0).to_numpy() == 0


def _no_box(boxes: pa.ChunkedArray) -> np.ndarray:
    left, top, right, bottom = (_numbers(pc.list_element(boxes, corner)) for corner in range(4))
    return ~((left >= 0) & (top >= 0) & (left < right) & (top < bottom))


def _no_ratio(column: pa.ChunkedArray, schema: pa.Schema) -> np.ndarray:
    def wrong(text: str | None) -> bool:
        if text is None:
            return "retention" not in schema.names  # the majority answer is of no ratio
        return not values.RATIO.fullmatch(text)

    bad = {text: wrong(text) for text in pc.unique(column).to_pylist()}
    return np.array([bad[text] for text in column.to_pylist()], dtype=bool)


def _doubled(table: pa.Table, key: tuple[str, ...]) -> int | None:
    first = table.column(key[0])
    if len(key) == 1:
        if pc.count_distinct(first, mode="all").as_py() == len(first):
            return None
    seen: set[tuple[Any, ...]] = set()
    for row, found in enumerate(zip(*(table.column(name).to_pylist() for name in key), strict=True)):
        if found in seen:
            return row
        seen.add(found)
    return None
