"""The verdict's sentences, word for word, on constructed comparisons."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from hawk.analysis.comparison import RETENTION
from hawk.report.headline import Comparison, headline, sentences

RATIOS = ("0.6", "0.8", "0.9")
VARIANTS: dict[str, dict[str, Any]] = {
    "zero": {"method": "hawk", "weights": "zero"},
    "selection": {"method": "hawk", "weights": "selection"},
    "uniform": {"method": "hawk", "weights": "uniform"},
    "permuted": {"method": "hawk", "weights": "zero", "permute": True},
    "random": {"method": "random"},
    "grid": {"method": "grid"},
    "divprune": {"method": "divprune"},
    "cdpruner": {"method": "cdpruner"},
    "blind": {"method": "blind"},
    "oracle": {"method": "oracle"},
}
BETTER, WORSE, OPEN = ("better", 4.0), ("worse", -4.0), ("—", 0.5)


def compared(
    outcomes: dict[str, Any],
    controls: dict[tuple[str, str], Any] | None = None,
    reference: str | None = "uniform",
    ratios: tuple[str, ...] = RATIOS,
    base: float = 80.0,
    floor: tuple[str, ...] = (),
) -> Comparison:
    """outcomes: variant → one (verdict, difference) for all ratios, or one per ratio; the reference is added.

    controls: (variant, control) → paired difference, one for all ratios or one per ratio; ± 1.
    """
    rows = []
    for name, found in {**({reference: (None, 0.0)} if reference else {}), **outcomes}.items():
        per_ratio = found if isinstance(found, list) else [found] * len(ratios)
        for ratio, (verdict, difference) in zip(ratios, per_ratio, strict=True):
            empty = dict.fromkeys(RETENTION.names)
            value = base + difference
            rows.append(
                empty
                | {"variant": name, "method": VARIANTS[name]["method"], "pruning_ratio": ratio}
                | {"benchmark": "overall", "retention": value, "ci_low": value - 1, "ci_high": value + 1}
                | {"verdict": verdict, "difference": difference, "at_floor": name in floor}
                | {"difference_low": difference - 1.0, "difference_high": difference + 1.0}
            )
    frame = pd.DataFrame(rows, columns=RETENTION.names)
    described = [
        {"variant": variant, "control": control, "pruning_ratio": ratio, "difference": gap}
        | {"difference_low": gap - 1.0, "difference_high": gap + 1.0}
        for (variant, control), gaps in (controls or {}).items()
        for ratio, gap in zip(ratios, gaps if isinstance(gaps, list) else [gaps] * len(ratios), strict=True)
    ]
    settings = {"reference": reference, "variants": {name: VARIANTS[name] for name in frame["variant"]}}
    return Comparison.of(frame, pd.DataFrame(described) if described else None, settings)


def said(found: Comparison) -> list[str]:
    return [headline(found).text, *(one.text for one in sentences(found))]


def test_a_clear_win() -> None:
    found = compared({"zero": BETTER, "random": WORSE}, {("zero", "random"): 20.0, ("zero", "uniform"): 4.0})
    assert said(found) == [
        "Calibrated head weights beat uniform weights at every ratio. Best: zero, 84 % at 60 % removed.",
        "Against uniform, zero is better at every ratio.",
        "Other controls (confidence intervals, no significance tests): "
        "where zero beats uniform it also exceeds random.",
    ]
    assert headline(found).kind == "better"


def test_a_win_that_another_control_matches_is_none_over_that_control() -> None:
    found = compared({"zero": BETTER, "grid": BETTER}, {("zero", "grid"): [20.0, -3.0, 0.5]})
    assert said(found) == [
        "Calibrated head weights beat uniform weights at every ratio, but not grid. "
        "Highest: zero, 84 % at 60 % removed.",
        "Against uniform, zero is better at every ratio.",
        "Other controls (confidence intervals, no significance tests): "
        "zero does not exceed grid at 80 % and 90 % removed.",
        "Controls that are better than uniform: grid at every ratio.",
    ]


def test_a_clear_loss() -> None:
    found = compared({"zero": WORSE, "divprune": [OPEN, BETTER, ("better", 17.0)]}, {("zero", "blind"): 21.0})
    assert said(found) == [
        "Calibrated head weights lose to uniform weights at every ratio. "
        "Best: divprune, 97 % at 90 % removed.",
        "Against uniform, zero is worse at every ratio.",
        "Other methods: against uniform, divprune is better at 80 % and 90 % removed and shows no "
        "significant difference at 60 % removed.",
    ]  # and no word of blind, which it is above
    assert headline(found).kind == "worse"


def test_a_tie() -> None:
    found = compared({"zero": OPEN, "selection": OPEN, "divprune": OPEN, "cdpruner": WORSE})
    assert said(found) == [
        "Calibrated head weights show no significant difference from uniform weights. Highest: zero, 80 % "
        "at 60 % removed, with no significant difference from uniform.",
        "Against uniform, zero and selection show no significant difference at any ratio.",
        "No other method beats uniform: divprune and cdpruner included.",
    ]


def test_what_a_winner_does_not_beat_stands_beside_the_winner() -> None:
    found = compared({"zero": WORSE, "selection": BETTER, "grid": BETTER}, {("selection", "grid"): -1.0})
    assert said(found)[0].startswith(
        "selection beats uniform weights at every ratio, but not grid; zero does not. "
    )


def test_wins_and_losses_of_several_weights() -> None:
    found = compared(
        {"zero": [WORSE, OPEN, OPEN], "selection": [OPEN, BETTER, BETTER], "cdpruner": ("better", 19.0)}
    )
    assert said(found)[:2] == [
        "selection beats uniform weights at 80 % and 90 % removed; zero does not. "
        "Best: cdpruner, 99 % at 90 % removed.",
        "Against uniform, zero is worse at 60 % removed and shows no significant difference at 80 % and "
        "90 % removed; selection is better at 80 % and 90 % removed and shows no significant difference at "
        "60 % removed.",
    ]
    mixed = compared({"zero": [WORSE, OPEN, BETTER]})
    assert headline(mixed).text.startswith(
        "zero beats uniform weights at 90 % removed and loses at 60 % removed."
    )
    assert headline(mixed).kind == "open"
    some = compared({"zero": [WORSE, OPEN, OPEN]})
    assert headline(some).text.startswith("Calibrated head weights do not beat uniform weights here.")


def test_only_weak_controls() -> None:
    """Beating random shows little where nobody asked what uniform weights do."""
    found = compared(
        {"zero": BETTER, "blind": ("worse", -60.0)}, {("zero", "blind"): 64.0}, reference="random"
    )
    assert said(found) == [
        "Calibrated head weights beat random at every ratio, which shows little: uniform weights were not "
        "evaluated. Best: zero, 84 % at 60 % removed.",
        "Against random, zero is better at every ratio.",
        "Other controls (confidence intervals, no significance tests): "
        "where zero beats random it also exceeds blind.",
    ]


def test_a_win_against_a_weak_reference_names_the_strong_control_that_it_does_not_beat() -> None:
    found = compared({"zero": BETTER, "uniform": BETTER}, {("zero", "uniform"): -21.0}, reference="random")
    assert said(found)[0].startswith("Calibrated head weights beat random at every ratio, but not uniform.")


@pytest.mark.parametrize("low", [-0.1, 0.0])
def test_a_verdict_whose_interval_holds_zero_is_no_win(low: float) -> None:
    found = compared({"zero": BETTER})
    for row in found.rows:
        if row["variant"] == "zero":
            row["difference_low"] = low
    again = Comparison(found.rows, found.controls, found.variants, found.reference)
    assert headline(again).text.startswith(
        "Calibrated head weights show no significant difference from uniform weights."
    )


def test_nothing_at_the_floor_wins() -> None:
    found = compared({"zero": BETTER, "divprune": WORSE}, floor=("zero", "uniform", "divprune"))
    assert said(found) == [
        "Calibrated head weights do not beat uniform weights here. No variant is above the floor at 60 % "
        "removed.",
        "Against uniform, zero is at the floor at every ratio.",
        "No other method beats uniform: divprune included.",
    ]


def test_the_ceiling_says_whether_anything_can_be_won() -> None:
    found = compared({"zero": OPEN, "oracle": [OPEN, BETTER, BETTER]})
    assert said(found)[-1] == (
        "oracle, the ceiling, is better than uniform at 80 % and 90 % removed: there is room for a better "
        "choice of tokens."
    )
    assert "oracle" not in said(found)[0]  # which is no praise of anything
    none = compared({"zero": OPEN, "oracle": OPEN})
    assert said(none)[-1] == (
        "Not even oracle, the ceiling, is better than uniform: these benchmarks cannot show a better choice."
    )


def test_one_ratio_and_one_variant() -> None:
    found = compared({"zero": BETTER}, ratios=("0.8",))
    assert said(found) == [
        "Calibrated head weights beat uniform weights at 80 % removed. Best: zero, 84 % at 80 % removed.",
        "Against uniform, zero is better at 80 % removed.",
    ]
    alone = compared({}, ratios=("0.8",))
    assert said(alone) == [
        "No calibrated head weights were compared here. Only uniform was evaluated: 80 % at 80 % removed."
    ]


def test_without_a_reference_nothing_is_claimed() -> None:
    found = compared({"zero": (None, 3.0), "random": (None, 0.0)}, reference=None)
    assert said(found) == [
        "Nothing was tested: no reference variant is configured. Highest: zero, 83 % at 60 % removed."
    ]


def test_undefined_retention_and_controls() -> None:
    nan = float("nan")
    found = compared({"zero": OPEN}, base=nan)
    assert said(found)[0].endswith("Retention is undefined.")
    unknown = compared({"zero": BETTER}, {("zero", "grid"): nan})
    assert said(unknown)[0].startswith(
        "Calibrated head weights beat uniform weights at every ratio, but not grid."
    )


def test_only_the_floor_was_evaluated() -> None:
    found = compared({"blind": (None, 0.0)}, reference=None)
    assert said(found) == ["No variant was evaluated, so nothing is compared."]


def test_never_more_than_five_sentences_and_long_lists_end() -> None:
    many = {f"rival{i}": ("better", 2.0 + 2 * i) for i in range(9)}
    VARIANTS.update({name: {"method": "divprune"} for name in many})
    try:
        ours = {"zero": [WORSE, OPEN, BETTER], "selection": BETTER, "grid": BETTER, "oracle": BETTER}
        found = compared({**ours, **many}, {("zero", "grid"): -1.0})
    finally:
        for name in many:
            del VARIANTS[name]
    texts = [one.text for one in sentences(found)]
    assert len(texts) == 5
    assert "rival0, rival1, rival2, rival3 and 5 more are better at every ratio" in texts[2]


def test_the_papers_recipe_is_called_that() -> None:
    (first, *_) = sentences(compared({"zero": WORSE}), paper=["zero"])
    assert first.text == "Against uniform, zero (the paper's recipe) is worse at every ratio."
