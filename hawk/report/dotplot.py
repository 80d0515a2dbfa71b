"""The comparison as a dot plot: a table whose cells are drawings, so that every value can be reached.

Rows are variants, columns are ratios; all cells share one scale of retention. Each dot is a variant's
retention over all benchmarks with its interval; it is hollow where no difference from the reference variant
was shown. Lines through all rows are what no method can fall below or rise above, and the reference variant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.analysis.controls import is_ceiling, is_floor
from hawk.report import columns
from hawk.report.figures.looks import looks
from hawk.report.numbers import interval, number, p_text
from hawk.report.page import escape
from hawk.report.verdicts import percent

Row = Mapping[str, Any]
# Markers in a square from -6 to 6, by their letters in figures.
SHAPES = {
    "o": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
    "s": "M-4.4-4.4H4.4V4.4H-4.4Z",
    "D": "M0-6L6 0L0 6L-6 0Z",
    "^": "M0-5.5L5.7 4.7H-5.7Z",
    "v": "M0 5.5L5.7-4.7H-5.7Z",
    "P": "M-1.9-5.6H1.9V-1.9H5.6V1.9H1.9V5.6H-1.9V1.9H-5.6V-1.9H-1.9Z",
    "X": "M-5.3-2.7L-2.7-5.3L0-2.6L2.7-5.3L5.3-2.7L2.6 0L5.3 2.7L2.7 5.3L0 2.6L-2.7 5.3L-5.3 2.7L-2.6 0Z",
    "*": "M0-6L1.5-1.9L5.8-1.8L2.4 .8L3.6 4.9L0 2.5L-3.6 4.9L-2.4 .8L-5.8-1.8L-1.5-1.9Z",
    "<": "M-5.5 0L4.7-5.7V5.7Z",
    ">": "M5.5 0L-4.7-5.7V5.7Z",
    "h": "M0-5.7L5-2.8V2.8L0 5.7L-5 2.8V-2.8Z",
    "d": "M0-6L3.8 0L0 6L-3.8 0Z",
}


@dataclass(frozen=True)
class Scale:
    """Retention in percent → how far right, in percent of a cell's width."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        return round(100.0 * (value - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[float]:
        step = 25.0 if self.high - self.low > 50.0 else 10.0 if self.high - self.low > 20.0 else 5.0
        first = math.ceil(self.low / step) * step
        return [first + step * i for i in range(int((self.high - first) // step) + 1)]

    @classmethod
    def over(cls, values: Sequence[float]) -> Scale:
        """Round bounds around all values and 100, with a little room."""
        low, high = min([*values, 95.0]), max([*values, 100.0])
        room = 0.03 * (high - low)
        return cls(math.floor((low - room) / 5.0) * 5.0, high + room + 0.5)


def dot_plot(frame: pd.DataFrame, settings: Mapping[str, Any], confidence: float) -> str:
    """HTML of the plot, or nothing if there is nothing to draw.

    frame: rows of ``tables/retention``; settings: of its provenance; confidence: of its intervals, percent.
    """
    look = looks(frame)
    overall = frame[(frame["benchmark"] == OVERALL) & frame["retention"].notna()]
    rows: list[Row] = overall[overall["variant"] != BASELINE].to_dict("records")  # type: ignore[assignment]
    dots = [row for row in rows if row["variant"] in look]
    if not dots:
        return ""
    ratios = sorted({row["pruning_ratio"] for row in dots}, key=float)
    scale = Scale.over([row[key] for row in rows for key in ("retention", "ci_low", "ci_high")])
    lines = {ratio: _lines(rows, ratio, settings.get("reference")) for ratio in ratios}
    backs = {ratio: "".join(line.drawn(scale) for line in lines[ratio]) for ratio in ratios}
    by_spot = {(row["variant"], row["pruning_ratio"]): row for row in dots}
    head = '<div role="row" class="dots-head"><span role="columnheader">variant</span>'
    head += "".join(f'<span role="columnheader">{percent(ratio)} removed</span>' for ratio in ratios)
    body = ""
    for name in _order(dots, ratios):
        title = f"{name} (reference)" if name == settings.get("reference") else name
        mark = _marker(*look[name])
        kind = "dots-row reference" if name == settings.get("reference") else "dots-row"
        body += f'<div role="row" class="{kind}"><span role="rowheader">{mark}{escape(title)}</span>'
        for ratio in ratios:
            row = by_spot.get((name, ratio))
            body += '<span role="cell" class="dots-cell"></span>' if row is None else _cell(
                row, backs[ratio], scale, look[name], confidence, settings.get("reference")
            )  # fmt: skip
        body += "</div>"
    axis = "".join(f'<i style="left:{scale(tick)}%"><b>{tick:g}</b></i>' for tick in scale.ticks)
    foot = '<div class="dots-axis" aria-hidden="true"><span>retention, %</span>'
    foot += "".join(f'<span class="dots-cell">{axis}</span>' for _ in ratios) + "</div>"
    return (
        f'<div class="dots" style="--ratios:{len(ratios)}"><div role="table" '
        f'aria-label="Retention over all benchmarks of every variant at every ratio">{head}</div>{body}</div>'
        f"{foot}{_key(lines[ratios[-1]], settings.get('reference'), confidence)}{_mark_key(dots)}</div>"
    )


@dataclass(frozen=True)
class Line:
    """A line through all rows of a column."""

    kind: str  # of its class: blind, majority, ceiling, reference, whole
    name: str
    value: float
    low: float | None = None
    high: float | None = None

    def drawn(self, scale: Scale) -> str:
        band = ""
        if self.low is not None and self.high is not None:
            left, right = scale(self.low), scale(self.high)
            band = f'<i class="band" style="left:{left}%;width:{round(right - left, 2)}%"></i>'
        return f'{band}<i class="line {self.kind}" style="left:{scale(self.value)}%"></i>'


def _lines(rows: Sequence[Row], ratio: str, reference: str | None) -> list[Line]:
    lines = [Line("whole", "unpruned", 100.0)]
    for row in rows:
        here = row["pruning_ratio"] == ratio
        if row["variant"] == MAJORITY:
            lines.append(Line("majority", "always the most frequent answer (majority)", row["retention"]))
        elif here and is_floor(row["method"]):
            name = f"floor: no visual token ({row['variant']})"
            lines.append(Line("blind", name, row["retention"], row["ci_low"], row["ci_high"]))
        elif here and is_ceiling(row["method"]):
            name = f"ceiling: told where the object is ({row['variant']})"
            lines.append(Line("ceiling", name, row["retention"], row["ci_low"], row["ci_high"]))
        elif here and row["variant"] == reference:
            lines.append(Line("reference", f"reference ({reference})", row["retention"]))
    return lines


def _order(dots: Sequence[Row], ratios: Sequence[str]) -> list[str]:
    """Best mean over ratios first."""
    retentions: dict[str, list[float]] = {}
    for row in dots:
        retentions.setdefault(row["variant"], []).append(row["retention"])
    return sorted(retentions, key=lambda name: -sum(retentions[name]) / len(retentions[name]))


def _marker(colour: str, marker: str, hollow: bool = False) -> str:
    kind = "dot hollow" if hollow else "dot"
    return (
        f'<svg class="{kind}" style="--c:{colour}" viewBox="-7 -7 14 14" aria-hidden="true">'
        f'<path d="{SHAPES[marker]}"/></svg>'
    )


def _cell(
    row: Row, back: str, scale: Scale, look: tuple[str, str], confidence: float, reference: str | None
) -> str:
    left, right = scale(row["ci_low"]), scale(row["ci_high"])
    hollow = row["verdict"] == "—"
    marks = columns.marks(row)
    sign = {"better": "▲", "worse": "▼"}.get(row["verdict"], "")
    text = f"{number(row['retention'])}{sign}{marks}"
    # On the side where there is room, on a printed page too.
    edge = max(right, scale(row["retention"]))
    far = round(100 - min(left, scale(row["retention"])), 2)
    side = f"right:calc({far}% + 9px)" if edge > 66 else f"left:calc({edge}% + 9px)"
    tip = "\n".join(_tip(row, confidence, reference))
    dot = _marker(*look, hollow=hollow)
    return (
        f'<span role="cell" class="dots-cell">{back}'
        f'<i class="span" style="--c:{look[0]};left:{left}%;width:{round(right - left, 2)}%"></i>'
        f'<span class="spot" tabindex="-1" role="img" aria-label="{escape(tip)}" data-tip="{escape(tip)}" '
        f'style="left:{scale(row["retention"])}%">{dot}</span>'
        f'<span class="value" aria-hidden="true" style="{side}">{text}</span></span>'
    )


def _tip(row: Row, confidence: float, reference: str | None) -> list[str]:
    """What a cell's tooltip and a screen reader say."""
    lines = [
        f"{row['variant']}, {percent(row['pruning_ratio'])} removed: retention {number(row['retention'])} %"
    ]
    lines.append(f"{confidence:g} % interval {interval(row['ci_low'], row['ci_high'])}")
    if row["seeds"] > 1:
        lines.append(f"{row['seeds']} seeds: {number(row['seed_low'])} to {number(row['seed_high'])}")
    if isinstance(row["verdict"], str):
        words = "no significant difference" if row["verdict"] == "—" else row["verdict"]
        bounds = interval(row["difference_low"], row["difference_high"], sign=True)
        gap = number(row["difference"], sign=True)
        lines.append(f"against {reference}: {gap} {bounds}, p {p_text(row['p_adjusted'])} (Holm), {words}")
    return [*lines, *(columns.MARKS[sign] for sign in columns.marks(row))]


def _key(lines: Sequence[Line], reference: str | None, confidence: float) -> str:
    items = "".join(f'<span><i class="swatch {line.kind}"></i>{escape(line.name)}</span>' for line in lines)
    verdicts = f"▲ ▼ better, worse than {reference} (Holm); hollow: no significant difference"
    verdict_key = "" if reference is None else f"<span>{escape(verdicts)}</span>"
    return f'<p class="dots-key">{items}{verdict_key}<span>bars: {confidence:g} % intervals</span></p>'


def _mark_key(dots: Sequence[Row]) -> str:
    """The marks that stand beside values, each with the variants that bear it."""
    text = ""
    for sign, meaning in columns.MARKS.items():
        bear = [row for row in dots if sign in columns.marks(row)]
        if bear:
            names = ", ".join(dict.fromkeys(row["variant"] for row in bear))
            text += f'<li class="warning">{sign} {escape(f"{meaning}: {names}.")}</li>'
    return f'<ul class="statements">{text}</ul>' if text else ""
