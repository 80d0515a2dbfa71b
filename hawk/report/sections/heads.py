"""The report's sections on heads: the interactive heatmap, the weights beside their null, stability."""

from __future__ import annotations

from hawk.analysis.screening import RANKS, rank_correlations
from hawk.core.head_weights import layer_choice
from hawk.report.numbers import number, p_text
from hawk.report.page import escape, table
from hawk.report.pictures import section_pictures
from hawk.report.run import Run

_VIEWS = (
    ("grid", "layers × heads"),
    ("layer", "benchmarks × heads"),
    ("list", "sorted list"),
    ("compare", "compare two"),
)


def heads(run: Run) -> str:
    if run.drops is None:
        return ""
    views = "".join(f'<button type="button" data-view="{key}">{text}</button>' for key, text in _VIEWS)
    return (
        f"""<p>Each cell is the drop of one head: how many points of the benchmark's scale the model loses
without this head, on the same samples. (Under keep_only the head alone chooses the tokens, and the cell is
the gain over all heads together.) Red: the score is higher with the head. Blue: the score is lower with it.
Hatched: the drop is within noise. All benchmarks share one colour scale, whose strength grows with the square
root of the drop. Click a head, or press Enter on it, for its numbers, questions and where it looks.</p>
<div id="explorer">
<div class="controls">
<label>ablation <select data-part="panel-select"></select></label>
<label>measure <select data-part="measure-select"><option value="drop">drop, points</option>
<option value="logprob_drop">drop of the answer's log-probability, nats</option></select></label>
<span class="views" role="group" aria-label="view">{views}</span>
<label data-part="benchmark">benchmark <select data-part="benchmark-select"></select></label>
<label data-part="layer">layer <select data-part="layer-select"></select></label>
<label data-part="other">against <select data-part="other-select"></select></label>
</div>
<div class="controls" data-part="filters">
<label><input type="checkbox" data-part="hide-noise"> hide what is within noise</label>
<label>only the highest <input type="number" min="0" step="1" value="0" data-part="top"> (0: all)</label>
<label>at least <input type="number" min="0" step="any" value="0" data-part="least"></label>
<button type="button" data-part="csv">save as CSV</button>
</div>
<div class="scale" data-part="scale" aria-label="colour scale"></div>
<div class="stage"><div data-part="view" class="view"></div>
<div data-part="detail" class="detail" aria-live="polite" hidden></div></div>
</div>"""
        + section_pictures(run, "heads")
        + _screening(run)
    )


# --- weights ----------------------------------------------------------------------------------------


def weights(run: Run) -> str:
    if not run.stability:
        return ""
    choices = {name: layer_choice(head_weights) for name, head_weights in run.weights.items()}
    text = "".join(f"<p>{escape(f'{name}: {words}')}</p>" for name, words in choices.items() if words)
    text += section_pictures(run, "weights")
    rows = []
    for name, measured in run.stability.items():
        halves = {"pooled": measured["split_half"]["pooled"], **measured["split_half"]["benchmarks"]}
        for key, values in {"pooled": measured["null"]["pooled"], **measured["null"]["benchmarks"]}.items():
            rows.append(
                [
                    name,
                    key,
                    number(values["spread"], 2),
                    number(values["spread_q95"], 2),
                    p_text(values["p"]),
                    number(values["distance"], 2),
                    number(values["distance_q95"], 2),
                    number(halves[key]["curve"][-1]["correlation"], 2, sign=True),
                    number(halves[key]["full"], 2, sign=True),
                    "noise alone" if values["explained_by_null"] else "beyond noise",
                ]
            )
    head = ["ablation", "benchmark", "spread, points", "95 % of noise", "p"]
    head += ["distance", "95 % of noise"]
    head += ["split-half", "all samples (est.)", "heads differ"]
    text += table(head, rows, left=2)
    pairs = [
        [name, pair["first"], pair["second"], number(pair["spearman"], 2, sign=True)]
        for name, measured in run.stability.items()
        for pair in measured["between_benchmarks"]
    ]
    if pairs:
        listed = table(["ablation", "benchmark", "and", "rank correlation of drops"], pairs, left=3)
        text += f"<details><summary>Agreement between benchmarks</summary>{listed}</details>"
    return text


def _screening(run: Run) -> str:
    """How well estimates by gradient rank the heads that were switched off as well."""
    if run.drops is None or run.estimates is None:
        return ""
    rows = [
        [
            row["screen"],
            row["ablation"],
            "all" if row["layer"] is None else str(row["layer"]),
            str(row["heads"]),
            *(number(row[column], 2, sign=True) for column in RANKS),
        ]
        for row in rank_correlations(run.drops, run.estimates)
    ]
    if not rows:
        return ""
    head = [
        "estimate",
        "measured",
        "layer",
        "heads",
        *(f"rank correlation, {key}" for key in RANKS.values()),
    ]
    return (
        "<p>Heads as gradients rank them, against what switching each off costs in margin (means over "
        "benchmarks). Estimates are for choosing which heads to measure.</p>" + table(head, rows, left=2)
    )
