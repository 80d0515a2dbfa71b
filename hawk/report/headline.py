"""The verdict in words: one headline and at most five sentences, made from the comparison's table.

Words mean what the rule says. "Beats" and "better" need a verdict by Holm, a paired interval above 0, and
more than always giving the most frequent answer; "worse" and "loses" need a verdict; whatever else was
tested is open. Controls other than the reference variant have a paired interval and no test: a variant
exceeds one where the interval lies above 0, and nothing good is said of them where the reference is not
beaten. Numbers stand in the plot and in tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.analysis.controls import is_calibrated, is_ceiling, is_control, is_floor
from hawk.core.variants import weight_source, with_uniform
from hawk.pruning.options import facts
from hawk.report.numbers import number
from hawk.report.verdicts import Statement, percent

ENOUGH = 95.0  # percent of the unpruned model: the best variant is named where one still retains this much
MOST_NAMES = 4  # in one list; the plot shows the others
BETTER, WORSE, OPEN, FLOOR = "better", "worse", "open", "floor"
VERBS = {
    BETTER: ("is better", "are better"),
    WORSE: ("is worse", "are worse"),
    OPEN: ("shows no significant difference", "show no significant difference"),
    FLOOR: ("is at the floor", "are at the floor"),
}


@dataclass
class Comparison:
    """The rows over all benchmarks, sorted by what each variant is."""

    rows: list[dict[str, Any]]  # of pruned variants; the floor and the ceiling too
    controls: list[dict[str, Any]]
    variants: Mapping[str, Mapping[str, Any]]
    reference: str | None
    ratios: list[str] = field(init=False)
    outcomes: dict[tuple[str, str], str] = field(init=False)  # (variant, ratio) → against the reference

    def __post_init__(self) -> None:
        self.ratios = sorted({row["pruning_ratio"] for row in self.rows}, key=float)
        self.outcomes = {
            (row["variant"], row["pruning_ratio"]): _outcome(row)
            for row in self.rows
            if isinstance(row["verdict"], str)
        }

    @classmethod
    def of(
        cls, frame: pd.DataFrame, controls: pd.DataFrame | None, settings: Mapping[str, Any]
    ) -> Comparison:
        """frame and controls: tables/retention and tables/controls; settings: of their provenance."""
        pruned = (frame["benchmark"] == OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])
        rows: list[dict[str, Any]] = frame[pruned].to_dict("records")  # type: ignore[assignment]
        uniform = settings.get("uniform_weights", ())
        said = {name: with_uniform(variant, uniform) for name, variant in settings["variants"].items()}
        variants = {row["variant"]: {"method": row["method"]} for row in rows} | said
        described: list[dict[str, Any]] = [] if controls is None else controls.to_dict("records")  # type: ignore[assignment]
        reference = settings.get("reference")
        described = [row for row in described if row["control"] != reference]
        return cls(rows, described, variants, reference)

    def names(self) -> list[str]:
        """Of the variants that are compared: neither floor nor ceiling."""
        bounds = {row["variant"] for row in self.rows if is_floor(row["method"]) or is_ceiling(row["method"])}
        return [name for name in dict.fromkeys(row["variant"] for row in self.rows) if name not in bounds]

    def tested(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if any(variant == name for variant, _ in self.outcomes)]

    @property
    def calibrated(self) -> list[str]:
        """With weights from ablation, and tested against the reference."""
        return self.tested(name for name in self.names() if is_calibrated(self.variants[name]))

    def ratios_with(self, name: str, outcome: str) -> list[str]:
        return [ratio for ratio in self.ratios if self.outcomes.get((name, ratio)) == outcome]

    def wins(self, name: str) -> list[str]:
        return self.ratios_with(name, BETTER)

    def not_above(self, name: str, ratios: Collection[str]) -> dict[str, list[str]]:
        """Control → the ratios at which a variant's paired interval does not lie above it."""
        out: dict[str, list[str]] = {}
        for row in self.controls:
            if row["variant"] == name and row["pruning_ratio"] in ratios and not row["difference_low"] > 0.0:
                out.setdefault(row["control"], []).append(row["pruning_ratio"])
        return out

    def above(self, name: str, ratios: Collection[str]) -> list[str]:
        """Controls above all of which, at all of these ratios, a variant's paired interval lies."""
        controls = dict.fromkeys(row["control"] for row in self.controls if row["variant"] == name)
        below = self.not_above(name, ratios)
        return [control for control in controls if control not in below]

    @property
    def reference_words(self) -> str:
        strong = self.reference is not None and is_uniform(self.variants[self.reference])
        return "uniform weights" if strong else str(self.reference)

    @property
    def knows_uniform(self) -> bool:
        """Whether uniform weights, the strongest control of a calibration, were evaluated."""
        return any(is_uniform(self.variants[name]) for name in self.names())


def is_uniform(variant: Mapping[str, Any]) -> bool:
    """Whether a variant is undisturbed but for its weights, which are uniform."""
    changed = variant.get("permute") or variant.get("shuffle_query") or variant.get("rope")
    uniform = (weight_source(variant) or "uniform") == "uniform"
    return facts(variant["method"]).takes_weights and uniform and not changed


def _outcome(row: Mapping[str, Any]) -> str:
    if row["verdict"] == "worse":
        return WORSE
    if row["at_floor"] is True:
        return FLOOR
    return BETTER if row["verdict"] == "better" and row["difference_low"] > 0.0 else OPEN


# --- the headline -----------------------------------------------------------------------------------


def headline(compared: Comparison) -> Statement:
    """What was asked, answered, and who retains most."""
    if not compared.names():
        return Statement("note", "No variant was evaluated, so nothing is compared.")
    finding = _calibration(compared)
    return Statement(finding.kind, f"{finding.text} {best(compared)}".strip())


def _calibration(compared: Comparison) -> Statement:
    if compared.reference is None:
        return Statement("note", "Nothing was tested: no reference variant is configured.")
    names, against = compared.calibrated, compared.reference_words
    if not names:
        return Statement("note", "No calibrated head weights were compared here.")
    kinds = {compared.outcomes[name, ratio] for name in names for ratio in compared.ratios}
    everywhere = at(compared, compared.ratios)
    if BETTER in kinds:
        return Statement("better" if kinds == {BETTER} else "open", _won(compared, kinds))
    if kinds == {WORSE}:
        return Statement("worse", f"Calibrated head weights lose to {against} {everywhere}.")
    if kinds == {OPEN}:
        return Statement("open", f"Calibrated head weights show no significant difference from {against}.")
    return Statement(
        "worse" if WORSE in kinds else "open", f"Calibrated head weights do not beat {against} here."
    )


def _won(compared: Comparison, kinds: Collection[str]) -> str:
    names, against = compared.calibrated, compared.reference_words
    winners = [name for name in names if compared.wins(name)]
    others = [name for name in names if name not in winners]
    missed = list(dict.fromkeys(c for name in winners for c in compared.not_above(name, compared.wins(name))))
    but = f", but not {listed(missed)}" if missed else ""
    if kinds == {BETTER}:
        text = f"Calibrated head weights beat {against} {at(compared, compared.ratios)}{but}"
    else:
        parts = []
        for name in winners[:MOST_NAMES]:
            lost = compared.ratios_with(name, WORSE)
            wins = f"{name} beats {against} {at(compared, compared.wins(name))}"
            parts.append(wins + (f" and loses {at(compared, lost)}" if lost else ""))
        text = "; ".join(parts) + but
        if others:
            text += f"; {listed(others)} {'does' if len(others) == 1 else 'do'} not"
    if not compared.knows_uniform:
        text += ", which shows little: uniform weights were not evaluated"
    return text + "."


def best(compared: Comparison) -> str:
    """Who retains most, at the largest ratio at which ``ENOUGH`` is retained; "best" only if beyond doubt."""
    names = set(compared.names())
    rows = [row for row in compared.rows if row["variant"] in names and pd.notna(row["retention"])]
    if not rows:
        return "Retention is undefined."
    enough = [row["pruning_ratio"] for row in rows if row["retention"] >= ENOUGH]
    ratio = max(enough, key=float) if enough else min((row["pruning_ratio"] for row in rows), key=float)
    rows = sorted(
        (row for row in rows if row["pruning_ratio"] == ratio), key=lambda row: row["retention"], reverse=True
    )
    top, *others = rows
    name, where = top["variant"], f"{number(top['retention'], 0)} % at {percent(ratio)} removed"
    if top["at_floor"] is True:
        return f"No variant is above the floor at {percent(ratio)} removed."
    if not others:
        return f"Only {name} was evaluated: {where}."
    outcome = compared.outcomes.get((name, ratio))
    apart = all(top["ci_low"] > row["ci_high"] for row in others)
    if apart and (outcome == BETTER or name == compared.reference):
        return f"Best: {name}, {where}."
    doubt = "" if outcome != OPEN else f", with no significant difference from {compared.reference}"
    return f"Highest: {name}, {where}{doubt}."


# --- the sentences ----------------------------------------------------------------------------------


def sentences(compared: Comparison, paper: Collection[str] = ()) -> list[Statement]:
    """At most five, each with its controls by name. paper: variants that are the paper's recipe."""
    if compared.reference is None:
        return []
    candidates = [
        _against_reference(compared, paper),
        _other_controls(compared),
        _rivals(compared),
        _better_controls(compared),
        _ceiling(compared),
    ]
    return [sentence for sentence in candidates if sentence is not None]


def _against_reference(compared: Comparison, paper: Collection[str]) -> Statement | None:
    names = compared.calibrated
    if not names:
        return None
    kinds = {compared.outcomes[name, ratio] for name in names for ratio in compared.ratios}
    kind = "worse" if WORSE in kinds else "better" if kinds == {BETTER} else "open"
    titles = {name: f"{name} (the paper's recipe)" if name in paper else name for name in names}
    return Statement(kind, f"Against {compared.reference}, {patterns(compared, names, titles)}.")


def _other_controls(compared: Comparison) -> Statement | None:
    missed: dict[str, list[str]] = {}  # what is said → of which variants
    won: dict[str, list[str]] = {}
    for name in compared.calibrated:
        if below := compared.not_above(name, compared.ratios):
            spots = [f"{control} {at(compared, ratios, 'any')}" for control, ratios in below.items()]
            missed.setdefault(listed(spots), []).append(name)
        wins = compared.wins(name)
        if wins and (above := compared.above(name, wins)):
            won.setdefault(listed(above), []).append(name)
    parts = []
    for text, names in missed.items():
        parts.append(f"{listed(names)} {'do' if len(names) > 1 else 'does'} not exceed {text}")
    for text, names in won.items():
        beats, exceed = ("beat", "they also exceed") if len(names) > 1 else ("beats", "it also exceeds")
        parts.append(f"where {listed(names)} {beats} {compared.reference} {exceed} {text}")
    if not parts:
        return None
    text = "; ".join(parts[:MOST_NAMES])
    text = f"Other controls (confidence intervals, no significance tests): {text}."
    return Statement("below" if missed else "note", text)


def _rivals(compared: Comparison) -> Statement | None:
    names = [
        name
        for name in compared.tested(compared.names())
        if not is_control(compared.variants[name]) and name not in compared.calibrated
    ]
    if not names:
        return None
    if not any(compared.wins(name) for name in names):
        return Statement("note", f"No other method beats {compared.reference}: {listed(names)} included.")
    winners = [name for name in names if compared.wins(name)]
    text = patterns(compared, winners, {})
    rest = [name for name in names if name not in winners]
    more = f"; {listed(rest)} {'does' if len(rest) == 1 else 'do'} not beat it at any ratio" if rest else ""
    return Statement("better", f"Other methods: against {compared.reference}, {text}{more}.")


def _better_controls(compared: Comparison) -> Statement | None:
    """A control that beats the reference variant shows that the reference is weak."""
    names = [
        name
        for name in compared.tested(compared.names())
        if is_control(compared.variants[name]) and compared.wins(name)
    ]
    if not names:
        return None
    text = listed([f"{name} {at(compared, compared.wins(name))}" for name in names])
    return Statement("below", f"Controls that are better than {compared.reference}: {text}.")


def _ceiling(compared: Comparison) -> Statement | None:
    names = compared.tested(
        dict.fromkeys(row["variant"] for row in compared.rows if is_ceiling(row["method"]))
    )
    if not names:
        return None
    name = names[0]
    if wins := compared.wins(name):
        text = f"{name}, the ceiling, is better than {compared.reference} {at(compared, wins)}"
        return Statement("note", f"{text}: there is room for a better choice of tokens.")
    text = f"Not even {name}, the ceiling, is better than {compared.reference}"
    return Statement("note", f"{text}: these benchmarks cannot show a better choice.")


def patterns(compared: Comparison, names: Sequence[str], titles: Mapping[str, str]) -> str:
    """Variants with the same outcomes at all ratios together."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name in names:
        key = tuple((ratio, compared.outcomes.get((name, ratio), "")) for ratio in compared.ratios)
        groups.setdefault(key, []).append(titles.get(name, name))
    parts = []
    for key, members in list(groups.items())[:MOST_NAMES]:
        phrases = []
        for outcome, verbs in VERBS.items():
            if ratios := [ratio for ratio, one_outcome in key if one_outcome == outcome]:
                where = at(compared, ratios, "any" if outcome == OPEN else "every")
                phrases.append(f"{verbs[len(members) > 1]} {where}")
        parts.append(f"{listed(members)} {listed(phrases)}")
    left = len(groups) - len(parts)
    return "; ".join(parts) + (f"; {left} more in the plot" if left > 0 else "")


def listed(items: Sequence[str]) -> str:
    """``a, b and c``; of very many only the first."""
    shown = list(items if len(items) <= MOST_NAMES + 1 else items[:MOST_NAMES])
    if len(items) > len(shown):
        shown.append(f"{len(items) - len(shown)} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def at(compared: Comparison, ratios: Sequence[str], all_of_them: str = "every") -> str:
    """``at 60 % and 80 % removed``, or ``at every ratio``."""
    if len(compared.ratios) > 1 and len(ratios) == len(compared.ratios):
        return f"at {all_of_them} ratio"
    return f"at {listed([percent(ratio) for ratio in ratios])} removed"
