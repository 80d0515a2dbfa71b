"""What the comparison says, in plain words. "Better" and "worse" follow the rule and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from hawk.analysis.comparison import BASELINE, MAJORITY, OVERALL
from hawk.analysis.controls import is_calibrated, is_floor
from hawk.core.variants import weight_source
from hawk.report.numbers import interval, number, p_text


class Statement(NamedTuple):
    kind: str  # better, worse, open, note
    text: str


def percent(ratio: str) -> str:
    return f"{100 * float(ratio):g} %"


def against_reference(frame: pd.DataFrame, settings: Mapping[str, Any]) -> list[Statement]:
    """One statement per ratio and verdict: who is better, worse, or shows no significant difference."""
    reference = settings.get("reference")
    if reference is None:
        return [Statement("note", "No reference variant is configured, so nothing was tested.")]
    out: list[Statement] = []
    rows = frame[(frame["benchmark"] == OVERALL) & frame["p_adjusted"].notna()]
    for ratio in settings["ratios"]:
        part = rows[rows["pruning_ratio"] == ratio].sort_values("retention", ascending=False)
        for kind, words in (
            ("better", f"better than {reference}"),
            ("worse", f"worse than {reference}"),
            ("open", f"no significant difference from {reference}"),
        ):
            some = part[part["verdict"] == ("—" if kind == "open" else kind)]
            if len(some):
                listed = "; ".join(_difference(row) for row in some.to_dict("records"))
                out.append(Statement(kind, f"{percent(ratio)} removed, {words}: {listed}."))
    return out


def _difference(row: Mapping[str, Any]) -> str:
    bounds = interval(row["difference_low"], row["difference_high"], sign=True)
    seeds = ""
    if row["seeds"] > 1:
        seeds = f", retention {number(row['seed_low'])} to {number(row['seed_high'])} over seeds"
    return f"{row['variant']} {number(row['difference'], sign=True)} {bounds}{seeds}"


def paper_weights(config: Mapping[str, Any]) -> set[str]:
    """The weights recipes that are the paper's: heads set to zero, min-shift of the drop in value."""
    zero = {one["name"] for one in config["ablation"]["recipes"] if one["intervention"] == "zero"}
    paper = {"normalization": "min_shift", "measure": "value"}
    return {
        one["name"]
        for one in config["weights"]["recipes"]
        if one["ablation"] in zero and paper.items() <= one.items()
    }


def recipe(
    frame: pd.DataFrame, controls: pd.DataFrame, settings: Mapping[str, Any], paper: Collection[str] = ()
) -> list[Statement]:
    """Does HAWK with calibrated weights beat its controls? Says plainly where it does not.

    paper: the weights recipes that are the paper's.
    """
    out: list[Statement] = []
    variants = {name: {"name": name, **one} for name, one in settings["variants"].items()}
    for name, variant in variants.items():
        if not is_calibrated(variant):
            continue
        title = f"{name} (the paper's recipe)" if variant.get("weights") in paper else name
        if name != settings.get("reference"):
            out += _tested(frame, settings, name, title)
        if controls is None:
            continue
        own = controls[(controls["variant"] == name) & (controls["control"] != settings.get("reference"))]
        tested = frame[
            (frame["variant"] == name) & (frame["benchmark"] == OVERALL) & frame["verdict"].notna()
        ]
        out += _described(own, title, dict(zip(tested["pruning_ratio"], tested["verdict"], strict=True)))
    return out


def _tested(frame: pd.DataFrame, settings: Mapping[str, Any], name: str, title: str) -> list[Statement]:
    rows = frame[(frame["variant"] == name) & (frame["benchmark"] == OVERALL)]
    out = []
    for verdict, kind, words in (
        ("worse", "worse", "loses to"),
        ("better", "better", "beats"),
        ("—", "open", "shows no significant difference from"),
    ):
        some = rows[rows["verdict"] == verdict].to_dict("records")
        if some:
            listed = "; ".join(
                f"at {percent(row['pruning_ratio'])} removed by {number(row['difference'], sign=True)} "
                f"{interval(row['difference_low'], row['difference_high'], sign=True)}, "
                f"adjusted p {p_text(row['p_adjusted'])}"
                for row in some
            )
            out.append(Statement(kind, f"{title} {words} {settings['reference']}: {listed}."))
    return out


def _described(controls: pd.DataFrame, title: str, against_reference: Mapping[str, str]) -> list[Statement]:
    """Against the other controls: where it retains less or more; described, without a verdict.

    against_reference: ratio → verdict. Where that is "worse" or open, nothing good is said of beating
    weaker controls: a method that does not beat its strongest control has shown nothing.
    """
    if not len(controls):
        return []
    undefined = controls[controls["difference"].isna()]
    if len(undefined):
        names = ", ".join(dict.fromkeys(undefined["control"]))
        return [Statement("warning", f"{title}: how it compares with {names} is undefined.")]
    below = controls[controls["difference"] < 0.0]
    if len(below):
        listed = "; ".join(
            f"{control} ({', '.join(_gap(row) for row in part.to_dict('records'))})"
            for control, part in below.groupby("control", sort=False)
        )
        said = f"{title} retains less than a control (described, not tested): {listed}."
        return [Statement("below", said)]
    won = controls[[against_reference.get(r, "better") == "better" for r in controls["pruning_ratio"]]]
    if not len(won):
        return []
    names = ", ".join(dict.fromkeys(won["control"]))
    ratios = ", ".join(percent(ratio) for ratio in dict.fromkeys(won["pruning_ratio"]))
    more = "more than" if (won["difference"] > 0.0).all() else "no less than"
    return [Statement("note", f"{title} retains {more} {names} at {ratios} removed (described, not tested).")]


def _gap(row: Mapping[str, Any]) -> str:
    bounds = interval(row["difference_low"], row["difference_high"], sign=True)
    return f"{number(row['difference'], sign=True)} {bounds} at {percent(row['pruning_ratio'])}"


def notes(
    config: Mapping[str, Any], stability: Mapping[str, Any], frame: pd.DataFrame | None, model: str
) -> list[Statement]:
    """What a reader must know before believing any of it. model: the path of the compared model."""
    out: list[Statement] = []
    if "models/tiny" in model:
        out.append(
            Statement(
                "note",
                "The model is small and was trained by this project on synthetic pictures. It shows that "
                "the workflow works; it says nothing about which method wins on a real model.",
            )
        )
    for name, found in stability.items():
        flagged = [key for key, one in found["null"]["benchmarks"].items() if one["explained_by_null"]]
        if flagged:
            out.append(
                Statement(
                    "warning",
                    f"Ablation {name}: noise alone gives drops as unequal as those of "
                    f"{', '.join(flagged)}; what these benchmarks add to the weights may be noise.",
                )
            )
        if found["null"]["pooled"]["explained_by_null"]:
            out.append(
                Statement(
                    "warning",
                    f"Ablation {name}: over all benchmarks, heads differ no more than noise alone "
                    "would make them. Use more calibration samples before trusting the weights.",
                )
            )
    if config["calibration"].get("holdout") == "none":
        out.append(
            Statement(
                "warning",
                "calibration.holdout is none: weights may be evaluated on the images that made them, "
                "as in the paper. Retention is then too good.",
            )
        )
    elif unknown := _from_elsewhere(config):
        out.append(
            Statement(
                "warning",
                f"{', '.join(unknown)}: weights from a file. Which images they were calibrated on is not "
                "known here; evaluated ones may be among them.",
            )
        )
    if frame is not None:
        out += _floor_notes(frame)
    return out


def _from_elsewhere(config: Mapping[str, Any]) -> list[str]:
    """Variants with weights that this run did not measure."""
    own = (*(one["name"] for one in config["weights"]["recipes"]), "uniform", None)
    return [one["name"] for one in config["evaluation"]["variants"] if weight_source(one) not in own]


def _floor_notes(frame: pd.DataFrame) -> Sequence[Statement]:
    """Benchmarks without a baseline, or on which seeing nothing costs little, show nothing."""
    base = frame[(frame["variant"] == BASELINE) & (frame["benchmark"] != OVERALL)]
    out = []
    majority = frame[(frame["variant"] == MAJORITY) & (frame["benchmark"] == OVERALL)]["retention"]
    rows = frame[(frame["benchmark"] == OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])]
    floor = rows[
        (~rows["method"].map(is_floor).astype(bool))
        & (rows["retention"] <= (majority.iloc[0] if len(majority) else -1.0))
    ]
    if len(floor):
        listed = "; ".join(
            f"{variant} at {', '.join(map(percent, part['pruning_ratio']))} removed"
            for variant, part in floor.groupby("variant", sort=False)
        )
        out.append(Statement("warning", f"No better than always giving the most frequent answer: {listed}."))
    zero = base[base["native_value"] == 0.0]["benchmark"].tolist()
    if zero:
        text = f"The unpruned model scores 0 on {', '.join(zero)}: retention, and its mean, is undefined."
        out.append(Statement("warning", text))
    blind = frame[frame["method"].map(is_floor).astype(bool) & (frame["benchmark"] != OVERALL)]
    weak = blind.drop_duplicates("benchmark")
    weak = weak[weak["retention"] > 90.0]
    if not len(weak):
        return out
    listed = ", ".join(f"{r['benchmark']} {number(r['retention'])} %" for r in weak.to_dict("records"))
    return [
        *out,
        Statement(
            "warning",
            f"Without any visual token the model keeps most of its score ({listed}): these benchmarks "
            "cannot tell pruning methods apart.",
        ),
    ]
