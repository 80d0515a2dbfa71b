"""The section that comes first: the headline, the dot plot, the sentences, each with its warnings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hawk.analysis.controls import is_calibrated
from hawk.core.variants import ablation_names
from hawk.report import verdicts
from hawk.report.dotplot import dot_plot
from hawk.report.headline import Comparison, headline, sentences
from hawk.report.page import escape
from hawk.report.run import Run
from hawk.report.sections.overview import model_of
from hawk.report.verdicts import Statement

_RULE = (
    "Better and worse: p < .05 in a paired sign-flip test over images, after Holm's correction for all "
    "comparisons with the reference variant (all variants, ratios and benchmarks, and overall). Beats: "
    "better, with a paired {confidence:g} % interval above 0, and above the majority answer. Best: beats the "
    "reference, or is it, and its interval lies above those of all others; otherwise the highest is named. "
    "Other controls have a paired interval and no significance test: a variant exceeds one where the whole "
    "interval of their difference lies above 0."
)


def verdict(run: Run) -> str:
    notes = _statements(verdicts.of_the_run(run.config, str(model_of(run).get("path", ""))))
    weights = verdicts.of_the_weights(run.config, run.stability)
    if run.retention is None:
        return notes + _statements([*weights, *verdicts.fewer_samples(run.config, run.drops, None)])
    compared = Comparison.of(run.retention, run.controls, run.settings)
    first = headline(compared)
    spoken = sentences(compared, paper_variants(run.config))
    beside = verdicts.of_the_comparison(run.config, run.drops, run.retention)
    about = bool(spoken) and bool(compared.calibrated)  # then the first sentence is about calibrated weights
    listed = "".join(
        _item(sentence, weights if about and place == 0 else []) for place, sentence in enumerate(spoken)
    )
    if weights and not about and compared.names():
        listed += "".join(_item(warning) for warning in weights)
    rule = _RULE.format(confidence=run.confidence)
    return (
        f'<p class="headline {first.kind}">{_text(first.text)}</p>{notes}'
        + dot_plot(run.retention, run.settings, run.confidence)
        + _statements(beside)
        + (f'<ul class="statements">{listed}</ul>' if listed else "")
        + f"<details class=words><summary>What these words mean</summary><p>{escape(rule)}</p></details>"
    )


def paper_variants(config: Mapping[str, Any]) -> list[str]:
    """Variants that are the paper's recipe: heads set to zero, min-shift of the drop in value."""
    zero = {recipe["name"] for recipe in config["ablation"]["recipes"] if recipe["intervention"] == "zero"}
    paper = {"normalization": "min_shift", "measure": "value"}
    recipes = {
        recipe["name"]
        for recipe in config["weights"]["recipes"]
        if set(ablation_names(recipe)) <= zero and paper.items() <= recipe.items()
    }
    variants = config["evaluation"]["variants"]
    calibrated = [variant for variant in variants if is_calibrated(variant)]
    return [variant["name"] for variant in calibrated if variant.get("weights") in recipes]


def _statements(items: Iterable[Statement]) -> str:
    listed = "".join(_item(item) for item in items)
    return f'<ul class="statements">{listed}</ul>' if listed else ""


def _item(item: Statement, beside: Iterable[Statement] = ()) -> str:
    return f'<li class="{escape(item.kind)}">{_text(item.text)}{_statements(beside)}</li>'


def _text(text: str) -> str:
    """Escaped, and no line ends inside "60 %"."""
    return escape(re.sub(r" (?=%)", "\N{NO-BREAK SPACE}", text))
