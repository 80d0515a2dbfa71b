"""What was run, and how to read it. A section takes a run and gives HTML, or nothing to be left out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hawk.analysis.blocks import BASELINE
from hawk.analysis.comparison import OVERALL
from hawk.report import columns
from hawk.report.numbers import number
from hawk.report.page import escape, table
from hawk.report.run import Run

# --- what was run -----------------------------------------------------------------------------------


def what_was_run(run: Run) -> str:
    model = model_of(run)
    facts: list[tuple[str, str]] = [("model", str(model.get("path", "")))]
    for head_weights in list(run.weights.values())[:1]:
        shape = head_weights.geometry
        facts.append(
            (
                "geometry",
                f"{shape.layers} layers of {shape.heads} heads ({shape.kv_heads} key-value heads), "
                f"scoring layer {head_weights.layer}",
            )
        )
        if head_weights.model.get("revision"):
            facts.append(("revision", str(head_weights.model["revision"])))
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
    provenance = run.drops_provenance
    options = (provenance or {"settings": run.settings})["settings"]["statistics"]
    facts.append(("resampling", f"{options['resamples']} resamples of images, seed {run.config['seed']}"))
    environment = provenance.get("environment", {})
    libraries = environment.get("libraries", {})
    if environment:
        dirty = ", with uncommitted changes" if environment.get("dirty") else ""
        commit = str(environment.get("commit", ""))[:12]
        facts.append(("hawk", f"{environment.get('hawk', '')} {commit}{dirty}".strip()))
        facts.append(("libraries", ", ".join(f"{name} {number}" for name, number in libraries.items())))
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts)
    return f'<table class="facts">{rows}</table>' + _samples(run)


def model_of(run: Run) -> dict[str, Any]:
    """The model that was compared, as its scores tell; of a run without any, the config's."""
    model = run.settings.get("model") if run.settings else None
    if not model:
        return dict(run.config["model"])
    return {"path": model["id"], **{key: model[key] for key in ("dtype", "attention") if key in model}}


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
            asked = run.config["calibration"]["samples"]
            rows.append([row["benchmark"], use, row["samples"], _asked(asked), row["groups"], score, floor])
    if run.retention is not None:
        base = run.retention[run.retention["variant"] == BASELINE]
        for row in base[base["benchmark"] != OVERALL].to_dict("records"):
            use = f"{run.settings.get('role')}, unpruned"
            score, asked = number(row["native_value"]), row["requested"]
            rows.append([row["benchmark"], use, row["samples"], _asked(asked), row["groups"], score, ""])
    head = ["benchmark", "use", "samples", "asked for", "images", "native value", "noise floor, points"]
    return table(head, rows, left=2)


def _asked(requested: Any) -> str:
    return number(requested, 0) or "all"


def reading(run: Run) -> str:
    confidence = f"{run.confidence:g}"
    items = [
        "Drop: value of the reference run minus value of the ablated run, on the same samples, in points of "
        "100 · native / native_max. The reference run of zero and mean is the untouched model, that of "
        "selection and keep_only the model pruned with uniform weights. Under keep_only one head alone "
        "chooses the tokens, and the drop is ablated minus reference, so that a positive drop always speaks "
        "for the head.",
        f"Intervals: {confidence} % percentile bootstrap over images, each with all of its questions.",
        "Noise: the interval contains 0, or the drop is within the noise floor that a repeated reference run "
        "shows. A floor of 0 means that the repeat agreed on every sample.",
        "Retention: native value of the pruned model in percent of the unpruned model's; overall is the "
        "unweighted mean over benchmarks.",
        "Seeds: a variant with seeds is shown by its mean. Intervals and tests are over images, for the "
        "seeds that were drawn; the range over seeds stands beside them.",
        "Not stopped: answers that ran to the limit of new tokens. First word: retention of the score that "
        "the answers' first words have by themselves. Token 0: prompts that keep their first visual token.",
        "Marks: " + "; ".join(f"{sign} {text}" for sign, text in columns.MARKS.items()) + ".",
        "majority: the score of always giving the most frequent correct answer. blind (the floor): the model "
        "without any visual token. oracle (the ceiling): a choice of tokens that is told where the asked "
        "object is, which no method can know.",
    ]
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
