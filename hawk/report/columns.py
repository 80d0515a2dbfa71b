"""Every column of every table, in every format: one list per table.

To add a column: a line here. Where its value is not yet in the table's file, the analysis that computes it
comes first: its file also lists the stored columns (``RETENTION``, ``CONTROLS``, ``COST_TABLE``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hawk.analysis import comparison, controls, cost, hypotheses
from hawk.report.numbers import interval, number, p_text

Row = Mapping[str, Any]
CSV, MARKDOWN, TERMINAL, HTML = "csv", "markdown", "terminal", "html"


@dataclass(frozen=True)
class Column:
    """One column of a table in some of its formats."""

    key: str  # of a row; what the page sorts this column by
    heading: str
    format: Callable[[Row], Any]  # a row → what stands in the cell
    where: tuple[str, ...]  # formats
    left: bool = False  # words stand left, numbers right
    overall: str | None = None  # the heading in the table over all benchmarks, if another
    if_any: bool = False  # left out of a table in which no row has a value

    def title(self, overall: bool) -> str:
        return self.overall if overall and self.overall is not None else self.heading


def select(columns: Iterable[Column], where: str, rows: Sequence[Row]) -> list[Column]:
    """The columns of a table in one format."""
    return [
        column
        for column in columns
        if where in column.where and (not column.if_any or any(column.format(row) for row in rows))
    ]


# --- formats ----------------------------------------------------------------------------------------


def _as_is(key: str) -> Column:
    return Column(key, key, lambda row: "" if row[key] is None else row[key], (CSV,))


def _word(key: str) -> Callable[[Row], str]:
    return lambda row: row[key] if isinstance(row[key], str) else ""  # pandas may have made None a NaN


def _listed(key: str) -> Callable[[Row], str]:
    return lambda row: ", ".join(row[key])


def _number(key: str, digits: int = 1, sign: bool = False, before: str = "") -> Callable[[Row], str]:
    return lambda row: before + number(row[key], digits, sign)


def _interval(name: str, sign: bool = False) -> Callable[[Row], str]:
    return lambda row: interval(row[f"{name}_low"], row[f"{name}_high"], sign)


def _narrow(name: str) -> Callable[[Row], str]:
    return lambda row: interval(row[f"{name}_low"], row[f"{name}_high"]).replace(" ", "")


def _kept_of(row: Row) -> str:
    return f"{number(row['kept_tokens'])} of {number(row['visual_tokens'])}"


def _seeds(row: Row, text: str) -> str:
    if not row["seeds"] > 1:
        return ""
    return text.format(seeds=row["seeds"], low=number(row["seed_low"]), high=number(row["seed_high"]))


def _retention(row: Row) -> str:
    return number(row["retention"]) + _seeds(row, " ({low} to {high})")


def _wins(row: Row) -> str:
    counts = [number(row[key], 0) for key in ("wins", "ties", "losses")]
    return " / ".join(counts) if counts[0] else ""


def _speedups(row: Row) -> str:
    return (
        "" if row["variant"] == cost.UNPRUNED else f"×{row['speedup_low']:.2f} to ×{row['speedup_high']:.2f}"
    )


def _speedup_finding(row: Row) -> str:
    if row["variant"] == cost.UNPRUNED:
        return ""
    return "noise" if row["is_noise"] else "faster" if row["speedup"] > 1 else "slower"


NOT_STOPPED = 1.0  # percent of a row's answers, from which on it is marked
MARKS = {
    "†": f"{NOT_STOPPED:g} % or more of the answers do not stop",
    "‡": "retains no more than always giving the most frequent answer",
}


def marks(row: Row) -> str:
    """The signs of ``MARKS`` that a row of the comparison bears."""
    bears = (number(row["not_stopped"]) and row["not_stopped"] >= NOT_STOPPED, row["at_floor"] is True)
    return "".join(sign for sign, given in zip(MARKS, bears, strict=True) if given)


def _marks_in_words(row: Row) -> str:
    words = {"†": "does not stop", "‡": "at the floor"}
    return ", ".join(words[sign] for sign in marks(row))


# --- tables -----------------------------------------------------------------------------------------

RETENTION: list[Column] = [
    *map(_as_is, comparison.RETENTION.names),
    Column("variant", "variant", _word("variant"), (MARKDOWN, TERMINAL, HTML), left=True),
    Column("at_floor", "", marks, (TERMINAL,), left=True, if_any=True),
    Column("pruning_ratio", "removed", _word("pruning_ratio"), (MARKDOWN, HTML)),
    Column("pruning_ratio", "cut", _word("pruning_ratio"), (TERMINAL,)),
    Column("kept_tokens", "kept of", _kept_of, (MARKDOWN,)),
    Column("kept_tokens", "kept", _number("kept_tokens"), (HTML,)),
    Column("kept_tokens", "kept", _number("kept_tokens", 0), (TERMINAL,)),
    Column("native_value", "native value", _number("native_value"), (MARKDOWN,), overall="points"),
    Column("native_value", "native", _number("native_value"), (HTML,)),
    Column("retention", "retention %", _retention, (MARKDOWN,)),
    Column("retention", "retention", _number("retention"), (HTML,)),
    Column("retention", "ret. %", _number("retention"), (TERMINAL,)),
    Column("ci_low", "interval", _interval("ci"), (MARKDOWN, HTML)),
    Column("ci_low", "", _narrow("ci"), (TERMINAL,), left=True),
    Column("seeds", "seeds", lambda row: _seeds(row, "{seeds}: {low} to {high}"), (HTML,)),
    Column("difference", "difference", _number("difference", sign=True), (MARKDOWN, HTML)),
    Column("difference", "vs ref", _number("difference", sign=True), (TERMINAL,)),
    Column("difference_low", "interval", _interval("difference", sign=True), (MARKDOWN, HTML)),
    Column("difference_low", "", _narrow("difference"), (TERMINAL,), left=True),
    Column("p_adjusted", "p (Holm)", lambda row: p_text(row["p_adjusted"]), (MARKDOWN, HTML)),
    Column("p_adjusted", "p", lambda row: p_text(row["p_adjusted"]), (TERMINAL,)),
    Column("verdict", "verdict", _word("verdict"), (MARKDOWN, HTML)),
    Column("verdict", "", _word("verdict"), (TERMINAL,), left=True),
    Column("wins", "win / tie / loss", _wins, (MARKDOWN, HTML)),
    Column("not_stopped", "not stopped %", _number("not_stopped"), (MARKDOWN, HTML)),
    Column("first_word_retention", "first word %", _number("first_word_retention"), (MARKDOWN, HTML)),
    Column("keeps_token_0", "token 0 %", _number("keeps_token_0"), (MARKDOWN, HTML)),
    Column("at_floor", "mark", _marks_in_words, (MARKDOWN, HTML), if_any=True),
    Column("published", "published value", _number("published"), (MARKDOWN, HTML),
           overall="published retention", if_any=True),
]  # fmt: skip

CONTROLS: list[Column] = [
    *map(_as_is, controls.CONTROLS.names),
    Column("variant", "calibrated", _word("variant"), (HTML,), left=True),
    Column("variant", "variant", lambda row: row["variant"][:22], (TERMINAL,), left=True),
    Column("control", "control", _word("control"), (HTML,), left=True),
    Column("control", "control", lambda row: row["control"][:22], (TERMINAL,), left=True),
    Column("pruning_ratio", "removed", _word("pruning_ratio"), (HTML,)),
    Column("pruning_ratio", "cut", _word("pruning_ratio"), (TERMINAL,)),
    Column("difference", "difference", _number("difference", sign=True), (TERMINAL, HTML)),
    Column("difference_low", "interval", _interval("difference", sign=True), (HTML,)),
    Column("difference_low", "", _interval("difference", sign=True), (TERMINAL,), left=True),
]

HYPOTHESES: list[Column] = [
    *map(_as_is, hypotheses.HYPOTHESES.names),
    Column("variant", "variant", _word("variant"), (MARKDOWN, TERMINAL, HTML), left=True),
    Column("against", "against", _word("against"), (MARKDOWN, TERMINAL, HTML), left=True),
    Column("pruning_ratio", "removed", _word("pruning_ratio"), (MARKDOWN, HTML)),
    Column("pruning_ratio", "cut", _word("pruning_ratio"), (TERMINAL,)),
    Column("benchmarks", "on", lambda row: str(len(row["benchmarks"])), (TERMINAL,)),
    Column("retention", "retention %", _number("retention"), (MARKDOWN, HTML)),
    Column("against_retention", "of the other", _number("against_retention"), (MARKDOWN, HTML)),
    Column("difference", "difference", _number("difference", sign=True), (MARKDOWN, HTML)),
    Column("difference", "diff.", _number("difference", sign=True), (TERMINAL,)),
    Column("difference_low", "interval", _interval("difference", sign=True), (MARKDOWN, HTML)),
    Column("difference_low", "", _narrow("difference"), (TERMINAL,), left=True),
    Column("p_adjusted", "p (Holm)", lambda row: p_text(row["p_adjusted"]), (MARKDOWN, HTML)),
    Column("p_adjusted", "p", lambda row: p_text(row["p_adjusted"]), (TERMINAL,)),
    Column("verdict", "verdict", _word("verdict"), (MARKDOWN, HTML)),
    Column("verdict", "", _word("verdict"), (TERMINAL,), left=True),
    Column("benchmarks", "benchmarks", _listed("benchmarks"), (MARKDOWN, HTML), left=True),  # long
]

COST: list[Column] = [
    *map(_as_is, cost.COST_TABLE.names),
    Column("variant", "variant", _word("variant"), (MARKDOWN, HTML), left=True),
    Column("variant", "variant", lambda row: row["variant"][:24], (TERMINAL,), left=True),
    Column("pruning_ratio", "removed", _word("pruning_ratio"), (MARKDOWN, HTML)),
    Column("pruning_ratio", "cut", _word("pruning_ratio"), (TERMINAL,)),
    Column("kept_tokens", "kept tokens", _number("kept_tokens", 0), (MARKDOWN, HTML)),
    Column("total_ms", "latency, ms", _number("total_ms"), (MARKDOWN, HTML)),
    Column("total_ms", "total ms", _number("total_ms"), (TERMINAL,)),
    Column("speedup", "speed-up", _number("speedup", 2, before="×"), (MARKDOWN, TERMINAL, HTML)),
    Column("speedup_low", "interval", _speedups, (MARKDOWN, HTML)),
    Column("is_noise", "finding", _speedup_finding, (MARKDOWN, HTML)),
    Column("vision_ms", "vision, ms", _number("vision_ms"), (MARKDOWN, HTML)),
    Column("token_score_ms", "token score, ms", _number("token_score_ms", 2), (MARKDOWN, HTML)),
    Column("prefill_ms", "prefill, ms", _number("prefill_ms"), (MARKDOWN, HTML)),
    Column("prefill_ms", "prefill ms", _number("prefill_ms"), (TERMINAL,)),
    Column("prefill_speedup", "prefill speed-up", _number("prefill_speedup", 2, before="×"),
           (MARKDOWN, HTML)),
    Column("decode_ms_per_token", "decode, ms per token", _number("decode_ms_per_token", 2),
           (MARKDOWN, HTML)),
    Column("decode_ms_per_token", "ms/token", _number("decode_ms_per_token", 2), (TERMINAL,)),
    Column("kv_cache_mb", "KV cache, MB", _number("kv_cache_mb", 2), (MARKDOWN, HTML)),
    Column("kv_cache_mb", "cache MB", _number("kv_cache_mb", 2), (TERMINAL,)),
    Column("kv_cache_share", "KV cache, %", _number("kv_cache_share"), (MARKDOWN, HTML)),
    Column("peak_memory_mb", "peak memory, MB", _number("peak_memory_mb", 0), (MARKDOWN, HTML)),
    Column("kept_tokens", "kept", _number("kept_tokens", 0), (TERMINAL,)),
]  # fmt: skip
