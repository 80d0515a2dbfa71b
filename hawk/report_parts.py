"""The sections of the report. Each takes a run and gives HTML, or an empty string to be left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from hawk import verdicts
from hawk.comparison import BASELINE, MAJORITY, OVERALL
from hawk.report import Run, escape, picture, table
from hawk.tables import interval, number, ordered, p_text

_RULE = (
    "Better and worse mean: Holm-adjusted p < .05 in a paired sign-flip test over images, over one "
    "declared family (all variants against the reference, all ratios, all benchmarks and overall). "
    "Numbers are points of retention with {confidence:g} % intervals; an interval alone decides nothing."
)


# --- what it says -----------------------------------------------------------------------------------


def verdict(run: Run) -> str:
    text = ""
    settings = {
        **run.settings,
        "normalization": run.config.get("weights", {}).get("normalization", "min_shift"),
    }
    if run.retention is not None:
        own = verdicts.recipe(run.retention, run.controls, settings)
        if own:
            text += "<h3>HAWK's calibrated weights against their controls</h3>" + _statements(own)
        text += "<h3>All variants, overall</h3>"
        text += f'<p class="soft">{escape(_RULE.format(confidence=run.confidence))}</p>'
        text += _statements(verdicts.against_reference(run.retention, settings))
    found = verdicts.notes({**run.config, "model": _model(run)}, run.stability, run.retention)
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
    facts.append(
        ("resampling", f"{options['resamples']} resamples of images, seed {run.config.get('seed', 0)}")
    )
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
        return dict(run.config.get("model", {}))
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
        first = run.drops.drop_duplicates(["intervention", "benchmark"])
        for row in first.to_dict("records"):
            use = f"calibration, {row['intervention']}"
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


# --- retention --------------------------------------------------------------------------------------


def retention(run: Run) -> str:
    if run.retention is None:
        return ""
    frame, reference = run.retention, run.settings.get("reference")
    text = picture(
        run.paths.figure("retention"),
        "retention against pruning ratio",
        "Retention overall: unweighted mean over benchmarks, in percent of the unpruned model. Bands: the "
        "range over seeds. blind sees no visual token: the floor. Points of one ratio are set side by side.",
    )
    names = [OVERALL, *(name for name in dict.fromkeys(frame["benchmark"]) if name != OVERALL)]
    text += picture(run.paths.figure("retention-benchmarks"), "retention per benchmark")
    for name in names:
        listed = _retention_table(frame[frame["benchmark"] == name], reference)
        mark = " open" if name == OVERALL else ""
        text += f"<details{mark}><summary>Table: {escape(name)}</summary>{listed}</details>"
    return text + _controls(run)


def _controls(run: Run) -> str:
    if run.controls is None or not len(run.controls):
        return ""
    rows = [
        (
            row["variant"],
            row["control"],
            row["pruning_ratio"],
            number(row["difference"], sign=True),
            interval(row["difference_low"], row["difference_high"], sign=True),
        )
        for row in run.controls.to_dict("records")
    ]
    listed = table(["calibrated", "control", "removed", "difference", "interval"], rows, 2, "sortable")
    title = "Table: calibrated weights against every control, overall (described, not tested)"
    return f"<details><summary>{title}</summary>{listed}</details>"


def _retention_table(part: pd.DataFrame, reference: str | None) -> str:
    published = part["published"].notna().any()
    kind = "retention" if (part["benchmark"] == OVERALL).all() else "value"
    head = [
        "variant",
        "removed",
        "kept",
        "native",
        "retention",
        "interval",
        "seeds",
        "difference",
        "interval",
    ]
    head += ["p (Holm)", "verdict", "win / tie / loss"] + ([f"published {kind}"] if published else [])
    rows = []
    for row in ordered(part).to_dict("records"):
        kind = {reference: "reference", BASELINE: "floor", MAJORITY: "floor"}.get(row["variant"], "")
        kind = "floor" if row["method"] == "blind" else kind
        seeds = ""
        if row["seeds"] > 1:
            seeds = f"{row['seeds']}: {number(row['seed_low'])} to {number(row['seed_high'])}"
        ratio = row["pruning_ratio"] if isinstance(row["pruning_ratio"], str) else ""
        word = row["verdict"] if isinstance(row["verdict"], str) else ""
        counts = " / ".join(number(row[key], 0) for key in ("wins", "ties", "losses"))
        cells: list[tuple[str, Any, str]] = [
            (row["variant"], row["variant"], "left"),
            (ratio, ratio, ""),
            (number(row["kept_tokens"]), row["kept_tokens"], ""),
            (number(row["native_value"]), row["native_value"], ""),
            (number(row["retention"]), row["retention"], ""),
            (interval(row["ci_low"], row["ci_high"]), row["ci_low"], ""),
            (seeds, row["seeds"], ""),
            (number(row["difference"], sign=True), row["difference"], ""),
            (interval(row["difference_low"], row["difference_high"], sign=True), row["difference_low"], ""),
            (p_text(row["p_adjusted"]), row["p_adjusted"], ""),
            (word, word, word if word in ("better", "worse") else ""),
            (counts if word else "", row["wins"], ""),
        ]
        if published:
            cells.append((number(row["published"]), row["published"], ""))
        rows.append(f'<tr class="{kind}">{"".join(map(_cell, cells))}</tr>')
    headings = "".join(f'<th aria-sort="none">{escape(one)}</th>' for one in head)
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{headings}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(cell: tuple[str, Any, str]) -> str:
    text, value, kind = cell
    value = "" if isinstance(value, float) and value != value else value
    return f'<td class="{kind}" data-v="{escape(value)}">{escape(text)}</td>'


# --- the rest ---------------------------------------------------------------------------------------


def kept_tokens(run: Run) -> str:
    folder = Path(run.paths.figure("kept_tokens", "png")).parent
    found = sorted(folder.glob("kept_tokens*.png"))
    return "".join(
        picture(
            str(path),
            "visual tokens that each variant keeps",
            "Framed, in colour: kept. Grey: removed." if number == len(found) - 1 else "",
        )
        for number, path in enumerate(found)
    )


def cost(run: Run) -> str:
    if run.cost is None:
        return ""
    from hawk.cost_figures import conditions, cost_table

    columns = {
        "kept_tokens": ("kept tokens", 0),
        "total_ms": ("latency, ms", 1),
        "speedup": ("speed-up", 2),
        "vision_ms": ("vision, ms", 1),
        "token_score_ms": ("token score, ms", 2),
        "prefill_ms": ("prefill, ms", 1),
        "prefill_speedup": ("prefill speed-up", 2),
        "decode_ms_per_token": ("decode, ms per token", 2),
        "kv_cache_mb": ("KV cache, MB", 2),
        "kv_cache_share": ("KV cache, %", 1),
        "peak_memory_mb": ("peak memory, MB", 0),
    }
    rows = [
        [row["variant"], row["pruning_ratio"]]
        + [number(row[key], digits) for key, (_, digits) in columns.items()]
        for _, row in cost_table(run.cost).iterrows()
    ]
    head = ["variant", "removed", *(title for title, _ in columns.values())]
    curve = picture(run.paths.figure("speedup"), "retention against speed-up")
    note = (
        "Medians over repeats. Speed-ups are medians of ratios to the unpruned model, which ran in between; "
        f"token score is all that pruning adds before the prefill. {conditions(run.cost_made)}"
    )
    return f'{curve}<p class="soft">{escape(note)}</p>' + table(head, rows, names="sortable")


def reading(run: Run) -> str:
    confidence = f"{run.confidence:g}"
    items = [
        "Drop: reference minus ablated value on the same samples, in points of 100 · native / native_max. "
        "zero and mean are measured against the untouched model, selection against the model pruned with "
        "uniform weights.",
        f"Intervals: {confidence} % percentile bootstrap over images; rows of one image move together.",
        "Noise: the interval contains 0, or the drop is within the noise floor that a repeated reference run "
        "shows. A floor of 0 means that the repeat agreed on every sample.",
        "Retention: pruned in percent of the unpruned native value; overall is the unweighted mean over "
        "benchmarks.",
        "Seeds: a variant with seeds is shown by its mean. Intervals and tests are over images, for the "
        "seeds that were drawn; the range over seeds stands beside them.",
        "majority: the best that one constant answer reaches. blind: the model without any visual token.",
    ]
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in items) + "</ul>"
