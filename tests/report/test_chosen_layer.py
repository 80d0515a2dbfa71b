"""The report of a run whose weights chose their layer: what is said, of which ablation, against what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories import layers_config, measure_drops, toy_benchmarks, weights, write_layers, write_run

from hawk.config.declared import declared
from hawk.core.paths import RunPaths
from hawk.report import verdicts
from hawk.report.explorer import explorer_data
from hawk.report.headline import Comparison
from hawk.report.run import Run
from hawk.report.sections.verdict import paper_variants
from hawk.report.tables import read_controls, read_retention
from hawk.steps.head_weights import head_weights
from hawk.steps.make_figures import make_figures
from hawk.steps.make_report import make_report
from hawk.steps.make_tables import make_tables

SHARES = {"toy": [0.5, 0.8, 0.6], "pairs": [0.5, 0.8, 0.6]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Layer 1 is chosen. ``hawk-flat`` has uniform weights of the chosen layer, by a recipe."""
    root, config = str(tmp_path_factory.mktemp("run")), layers_config()
    flat = weights("flat", ablation=["s2", "s0", "s1"], normalization="uniform")
    chosen = config["weights"]["recipes"][-1]
    config["weights"]["recipes"] = [chosen, flat]
    config["evaluation"]["reference"] = "hawk-flat"
    config["evaluation"]["variants"] = [
        {"name": "hawk-chosen", "method": "hawk", "weights": "chosen"},
        {"name": "hawk-flat", "method": "hawk", "weights": "flat"},
    ]
    with toy_benchmarks():
        write_run(root, config, effects={"s0": [0.0] * 4})
        write_layers(root, config, SHARES, SHARES)
        measure_drops(config, root)
        for recipe in ("chosen", "flat"):
            head_weights(declared(config, "head_weights"), RunPaths(root), recipe)
        make_tables(declared(config, "make_tables"), root)
    make_figures(declared(config, "make_figures"), root)
    make_report(declared(config, "make_report"), root)
    return root, config


def test_the_page_says_which_layer_was_chosen(made) -> None:
    page = Path(RunPaths(made[0]).report()).read_text(encoding="utf-8")
    for recipe in ("chosen", "flat"):
        assert f"<p>{recipe}: Layer 1 was chosen on the calibration images." in page


def test_weights_belong_to_the_ablation_that_was_chosen(made) -> None:
    root, config = made
    run = Run.read(config, root)
    assert (run.ablation_of("chosen"), run.ablation_of("flat")) == ("s1", "s1")
    assert run.null_of("chosen") is run.stability["s1"]
    assert run.null_of("flat") is None  # no drop was read, and noise gives no such weights
    panels = {panel["ablation"]: panel for panel in explorer_data(run)["panels"]}
    assert [name for name, panel in panels.items() if any(panel["weight"])] == ["s1"]
    assert panels["s1"]["weight"] == [round(weight, 4) for weight in run.weights["chosen"].weights]
    unmade = Run(config, run.paths, drops=run.drops, stability=run.stability)
    assert unmade.ablation_of("chosen") is None
    assert unmade.null_of("chosen") is None


def test_uniform_weights_of_a_recipe_are_a_control(made) -> None:
    """In the tables, the headline and the warnings alike; weights by drops are none."""
    root, config = made
    controls, (frame, settings) = read_controls(root), read_retention(root)
    assert set(controls["variant"]) == {"hawk-chosen"}
    assert set(controls["control"]) == {"hawk-flat"}
    compared = Comparison.of(frame, controls, settings)
    assert compared.calibrated == ["hawk-chosen"]
    assert compared.reference_words == "uniform weights"
    stability = Run.read(config, root).stability
    assert not [one for one in verdicts.of_the_weights(config, stability) if "no null" in one.text]
    del stability["s0"]
    (said,) = [one for one in verdicts.of_the_weights(config, stability) if "no null" in one.text]
    assert said.text.startswith("hawk-chosen: no null")
    assert paper_variants(config) == []
