"""The sections of the report. Each takes a run and gives HTML, or an empty string to be left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from hawk.analysis.comparison import BASELINE, OVERALL
from hawk.report import verdicts
from hawk.report.numbers import number
from hawk.report.page import escape, table
from hawk.report.run import Run

_RULE = (
    "Better and worse mean: Holm-adjusted p < .05 in a paired sign-flip test over images, over one "
    "declared family (all variants against the reference, all ratios, all benchmarks and overall). "
    "Numbers are points of retention with {confidence:g} % intervals; an interval alone decides nothing."
)


# --- what it says -----------------------------------------------------------------------------------


def verdict(run: Run) -> str:
    text = ""
    settings = run.settings
    if run.retention is not None:
        own = verdicts.recipe(run.retention, run.controls, settings, verdicts.paper_weights(run.config))
        if own:
            text += "<h3>HAWK's calibrated weights against their controls</h3>" + _statements(own)
        text += "<h3>All variants, overall</h3>"
        text += f'<p class="soft">{escape(_RULE.format(confidence=run.confidence))}</p>'
        text += _statements(verdicts.against_reference(run.retention, settings))
    found = verdicts.notes(run.config, run.stability, run.retention, str(_model(run).get("path", "")))
    if found:
        text += "<h3>Before you believe it</h3>" + _statements(found)
    return text


def _statements(items: Iterable[verdicts.Statement]) -> str:
    listed = "".join(f'<li class="{escape(one.kind)}">{escape(_unbroken(one.text))}</li>' for one in items)
    return f'<ul class="statements">{listed}</ul>'


def _unbroken(text: str) -> str:
    """No line ends inside "60 %" or an interval."""
    return re.sub(r" (?=%)|(?<=,) (?=[+-][\d.]+\])", "\N{NO-BREAK SPACE}", text)


# --- what was run -----------------------------------------------------------------------------------


def what_was_run(run: Run) -> str:
    model = _model(run)
    facts: list[tuple[str, str]] = [("model", str(model.get("path", "")))]
    for one in list(run.weights.values())[:1]:
        shape = one.geometry
        facts.append(
            (
                "geometry",
                f"{shape.layers} layers of {shape.heads} heads ({shape.kv_heads} key-value heads), "
                f"scoring layer {one.layer}",
            )
        )
        if one.model.get("revision"):
            facts.append(("revision", str(one.model["revision"])))
    facts += [(key, str(model[key])) for key in ("dtype", "attention") if key in model]
    if run.settings:
        facts.append(("protocol", str(run.settings.get("protocol"))))
        facts.append(("reference variant", str(run.settings.get("reference"))))
        facts.append(("role of the evaluated samples", str(run.settings.get("role"))))
        seeds = {v: n for v, n in _seeds(run.retention) if n > 1}
        if seeds:
            facts.append(("seeds", ", ".join(f"{name} {n}" for name, n in seeds.items())))
        answers = run.settings.get("majority_answer", {})
        facts.append(("majority answers", ", ".join(f"{k}: {v!r}" for k, v in answers.items())))
    made = run.drops_made
    options = (made or {"settings": run.settings})["settings"]["statistics"]
    facts.append(("resampling", f"{options['resamples']} resamples of images, seed {run.config['seed']}"))
    environment = made.get("environment", {})
    libraries = environment.get("libraries", {})
    if environment:
        dirty = ", with uncommitted changes" if environment.get("dirty") else ""
        commit = str(environment.get("commit", ""))[:12]
        facts.append(("hawk", f"{environment.get('hawk', '')} {commit}{dirty}".strip()))
        facts.append(("libraries", ", ".join(f"{name} {number}" for name, number in libraries.items())))
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts)
    return f'<table class="facts">{rows}</table>' + _samples(run)


def _model(run: Run) -> dict[str, Any]:
    """The model that was compared, as its scores tell; of a run without any, the config's."""
    made = run.settings.get("model") if run.settings else None
    if not made:
        return dict(run.config["model"])
    return {"path": made["id"], **{key: made[key] for key in ("dtype", "attention") if key in made}}


def _seeds(frame: pd.DataFrame | None) -> list[tuple[str, int]]:
    if frame is None:
        return []
    rows = frame[frame["benchmark"] == OVERALL].drop_duplicates("variant")
    return [(row["variant"], int(row["seeds"])) for row in rows.to_dict("records")]


def _samples(run: Run) -> str:
    """Samples, images and noise floor per benchmark and use."""
    rows: list[list[Any]] = []
    if run.drops is not None:
        first = run.drops.drop_duplicates(["ablation", "benchmark"])
        for row in first.to_dict("records"):
            use = f"calibration, {row['ablation']}"
            score, floor = number(row["reference_value"]), number(row["noise_floor"])
            rows.append([row["benchmark"], use, row["samples"], row["groups"], score, floor])
    if run.retention is not None:
        base = run.retention[run.retention["variant"] == BASELINE]
        for row in base[base["benchmark"] != OVERALL].to_dict("records"):
            use = f"{run.settings.get('role')}, unpruned"
            rows.append(
                [row["benchmark"], use, row["samples"], row["groups"], number(row["native_value"]), ""]
            )
    head = ["benchmark", "use", "samples", "images", "native value", "noise floor, points"]
    return table(head, rows, left=2)


def reading(run: Run) -> str:
    confidence = f"{run.confidence:g}"
    items = [
        "Drop: reference minus ablated value on the same samples, in points of 100 · native / native_max. "
        "zero and mean are measured against the untouched model, selection and keep_only against the model "
        "pruned with uniform weights. keep_only lets one head choose the tokens alone, and what it retains "
        "is good: there the sign is turned, so that more always speaks for the head.",
        f"Intervals: {confidence} % percentile bootstrap over images; rows of one image move together.",
        "Noise: the interval contains 0, or the drop is within the noise floor that a repeated reference run "
        "shows. A floor of 0 means that the repeat agreed on every sample.",
        "Retention: pruned in percent of the unpruned native value; overall is the unweighted mean over "
        "benchmarks.",
        "Seeds: a variant with seeds is shown by its mean. Intervals and tests are over images, for the "
        "seeds that were drawn; the range over seeds stands beside them.",
        "majority answer: the score of always giving the single most frequent answer. blind: the model "
        "without any visual token.",
    ]
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in items) + "</ul>"
