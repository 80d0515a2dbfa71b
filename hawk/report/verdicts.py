"""What the comparison says, in plain words. "Better" and "worse" follow the rule and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from hawk.analysis.comparison import BASELINE, MAJORITY, OVERALL
from hawk.analysis.controls import is_calibrated, is_ceiling, is_floor
from hawk.core.variants import weight_source
from hawk.report import tables
from hawk.report.columns import NOT_STOPPED
from hawk.report.numbers import interval, number, p_text


class Statement(NamedTuple):
    kind: str  # better, worse, open, note
    text: str


def percent(ratio: str) -> str:
    return f"{100 * float(ratio):g} %"


def against_reference_variant(frame: pd.DataFrame, settings: Mapping[str, Any]) -> list[Statement]:
    """One statement per ratio and verdict: who is better, worse, or shows no significant difference."""
    reference_variant = settings.get("reference")
    if reference_variant is None:
        return [Statement("note", "No reference variant is configured, so nothing was tested.")]
    out: list[Statement] = []
    rows = frame[(frame["benchmark"] == OVERALL) & frame["p_adjusted"].notna()]
    for ratio in settings["ratios"]:
        part = rows[rows["pruning_ratio"] == ratio].sort_values("retention", ascending=False)
        for kind, words in (
            ("better", f"better than {reference_variant}"),
            ("worse", f"worse than {reference_variant}"),
            ("open", f"no significant difference from {reference_variant}"),
        ):
            rows_of_kind = part[part["verdict"] == ("—" if kind == "open" else kind)]
            if len(rows_of_kind):
                listed = "; ".join(_difference(row) for row in rows_of_kind.to_dict("records"))
                out.append(Statement(kind, f"{percent(ratio)} removed, {words}: {listed}."))
    return out


def _difference(row: Mapping[str, Any]) -> str:
    bounds = interval(row["difference_low"], row["difference_high"], sign=True)
    seeds = ""
    if row["seeds"] > 1:
        seeds = f", retention {number(row['seed_low'])} to {number(row['seed_high'])} over seeds"
    name = f"{row['variant']} (the ceiling)" if is_ceiling(row["method"]) else row["variant"]
    return f"{name} {number(row['difference'], sign=True)} {bounds}{seeds}"


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
    variants = {name: {"name": name, **variant} for name, variant in settings["variants"].items()}
    for name, variant in variants.items():
        if not is_calibrated(variant):
            continue
        title = f"{name} (the paper's recipe)" if variant.get("weights") in paper else name
        if name != settings.get("reference"):
            out += _tested(frame, settings, name, title)
        if controls is None:
            continue
        of_variant = controls[
            (controls["variant"] == name) & (controls["control"] != settings.get("reference"))
        ]
        tested = frame[
            (frame["variant"] == name) & (frame["benchmark"] == OVERALL) & frame["verdict"].notna()
        ]
        out += _described(
            of_variant, title, dict(zip(tested["pruning_ratio"], tested["verdict"], strict=True))
        )
    return out


def _tested(frame: pd.DataFrame, settings: Mapping[str, Any], name: str, title: str) -> list[Statement]:
    rows = frame[(frame["variant"] == name) & (frame["benchmark"] == OVERALL)]
    out = []
    for verdict, kind, words in (
        ("worse", "worse", "loses to"),
        ("better", "better", "beats"),
        ("—", "open", "shows no significant difference from"),
    ):
        with_verdict = rows[rows["verdict"] == verdict].to_dict("records")
        if with_verdict:
            listed = "; ".join(
                f"at {percent(row['pruning_ratio'])} removed by {number(row['difference'], sign=True)} "
                f"{interval(row['difference_low'], row['difference_high'], sign=True)}, "
                f"adjusted p {p_text(row['p_adjusted'])}"
                for row in with_verdict
            )
            out.append(Statement(kind, f"{title} {words} {settings['reference']}: {listed}."))
    return out


def _described(controls: pd.DataFrame, title: str, verdict_by_ratio: Mapping[str, str]) -> list[Statement]:
    """Against the other controls: where it retains less or more; described, without a verdict.

    verdict_by_ratio: against the reference variant. Where that is "worse" or open, nothing good is said of
    beating weaker controls: a method that does not beat its strongest control has shown nothing.
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
        text = f"{title} retains less than a control (described, not tested): {listed}."
        return [Statement("below", text)]
    won = controls[[verdict_by_ratio.get(r, "better") == "better" for r in controls["pruning_ratio"]]]
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
    for name, measured in stability.items():
        flagged = [
            key for key, values in measured["null"]["benchmarks"].items() if values["explained_by_null"]
        ]
        if flagged:
            out.append(
                Statement(
                    "warning",
                    f"Ablation {name}: on {', '.join(flagged)} the drops of the heads differ no more "
                    "than noise alone would make them. Their share of the weights may be noise.",
                )
            )
        if measured["null"]["pooled"]["explained_by_null"]:
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
                "calibration.holdout is none: as in the paper, weights may be evaluated on images they were "
                "calibrated on, which makes retention too high.",
            )
        )
    elif unknown := _from_elsewhere(config):
        out.append(
            Statement(
                "warning",
                f"{', '.join(unknown)}: weights from a file. The images that they were calibrated on are "
                "not known here and may be among the evaluated ones.",
            )
        )
    if frame is not None:
        out += _floor_notes(frame)
    return out


def fewer_samples(
    config: Mapping[str, Any], drops: pd.DataFrame | None, frame: pd.DataFrame | None
) -> list[Statement]:
    """Benchmarks with fewer samples than the config asks for, by what they are used for."""
    found: list[str] = []
    wanted = config["calibration"]["samples"]
    if drops is not None and wanted is not None:
        rows = drops.drop_duplicates("benchmark")
        rows = rows[rows["samples"] < wanted].to_dict("records")
        found += [f"{row['benchmark']} {row['samples']} of {wanted} for calibration" for row in rows]
    if frame is not None:
        found += [f"{one} for evaluation" for one in tables.fewer_samples(frame)]
    return [Statement("warning", f"Fewer samples than asked for: {'; '.join(found)}.")] if found else []


def _from_elsewhere(config: Mapping[str, Any]) -> list[str]:
    """Variants with weights that this run did not measure."""
    measured_here = (*(recipe["name"] for recipe in config["weights"]["recipes"]), "uniform", None)
    return [
        variant["name"]
        for variant in config["evaluation"]["variants"]
        if weight_source(variant) not in measured_here
    ]


def _floor_notes(frame: pd.DataFrame) -> Sequence[Statement]:
    """Benchmarks without a baseline, or on which seeing nothing costs little, show nothing."""
    base = frame[(frame["variant"] == BASELINE) & (frame["benchmark"] != OVERALL)]
    out = []
    rows = frame[(frame["benchmark"] == OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])]
    floor = rows[(~rows["method"].map(is_floor).astype(bool)) & rows["at_floor"].eq(True)]
    if len(floor):
        listed = "; ".join(
            f"{variant} at {', '.join(map(percent, part['pruning_ratio']))} removed"
            for variant, part in floor.groupby("variant", sort=False)
        )
        out.append(Statement("warning", f"No better than always giving the most frequent answer: {listed}."))
    endless = rows[rows["not_stopped"] >= NOT_STOPPED].to_dict("records")
    if endless:
        listed = "; ".join(
            f"{row['variant']} {number(row['not_stopped'])} % at {percent(row['pruning_ratio'])} removed"
            for row in endless
        )
        text = (
            f"Answers that do not stop: {listed}. Exact match counts them as wrong even where they begin "
            "right; compare the first word."
        )
        out.append(Statement("warning", text))
    zero = base[base["native_value"] == 0.0]["benchmark"].tolist()
    if zero:
        text = f"The unpruned model scores 0 on {', '.join(zero)}: retention and its mean are undefined."
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
            "cannot show a difference between pruning methods.",
        ),
    ]
