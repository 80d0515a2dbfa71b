"""Screening as a step: from samples to rows of estimates, weights by them, and how well they rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hawk.ablation.ablate_heads import AblateHeads
from hawk.analysis.screening import rank_correlations
from hawk.config.checks import check
from hawk.config.load import fill
from hawk.core.errors import InputError
from hawk.core.files import provenance_of, read_table, write_table
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Head
from hawk.core.paths import RunPaths
from hawk.core.schemas import DROPS, HEAD_GRADIENTS
from hawk.report.run import Run
from hawk.report.sections.heads import _screening
from hawk.steps.encode_images import encode_images
from hawk.steps.head_drops import head_drops
from hawk.steps.head_weights import head_weights
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.score_samples import score_samples
from hawk.steps.screen_heads import screen_heads
from hawk.steps.session import Session
from hawk.tools.export_heads import export_heads
from hawk.tools.plan import plan
from hawk.tools.run_overview import overview
from hawk.tools.show import show


@pytest.fixture(scope="module")
def config(small_model: Path) -> dict[str, Any]:
    recipes = [
        {"name": "zero", "intervention": "zero", "layers": [0, 1]},
        {"name": "screen", "intervention": "gradient"},
    ]
    return fill(
        {
            "run": "screening",
            "model": {"path": str(small_model), "device": "cpu", "layers": 2, "heads": 2},
            "ablation": {"recipes": recipes},
            "weights": {"recipes": [{"name": "guess", "ablation": "screen", "measure": "margin"}]},
            "calibration": {"benchmarks": ["digits"], "samples": 9},
            "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "blind", "method": "blind"}]},
            "generation": {"batch_size": 6},
            "statistics": {"resamples": 100, "repeats": 1},
        },
        "config",
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> RunPaths:
    paths = RunPaths(tmp_path_factory.mktemp("screening"))
    prepare_samples(config, paths, "calibration", "digits")
    encode_images(config, paths, "calibration", "digits")
    zero, screen = config["ablation"]["recipes"]
    session = Session.open(config, paths, "digits", "calibration")
    names = ["reference", "repeat1", "L0H0", "L0H1", "L1H0", "L1H1"]
    score_samples(session, [(name, paths.scores("digits", "zero", name)) for name in names], zero)
    screen_heads(session, screen)
    for name in ("zero", "screen"):
        head_drops(config, paths, name)
    return paths


def test_rows_are_marked_as_estimates(run: RunPaths, config: dict[str, Any]) -> None:
    """Margins are those of the reference run, and the means those of the samples, head by head."""
    stored = read_table(run.head_gradients("screen", "digits"), HEAD_GRADIENTS).to_pandas()
    reference = pd.read_parquet(run.scores("digits", "zero", "reference"))
    assert stored["sample_id"].tolist() == reference["sample_id"].tolist()
    np.testing.assert_allclose(stored["margin"], reference["margin"], atol=1e-4)
    each = np.stack(stored["drops"].tolist()).astype(float)  # [samples, layers · heads]
    rows = read_table(run.drops("screen"), DROPS, {"ablation": "screen"}).to_pandas()
    assert rows["estimate"].all()
    assert rows[["drop", "ablated_value", "logprob_drop", "is_noise"]].isna().all(axis=None)
    assert list(zip(rows["layer"], rows["head"], strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    np.testing.assert_allclose(rows["margin_drop"], each.mean(0), rtol=1e-6)
    np.testing.assert_allclose(rows["margin_size"], np.abs(each).mean(0), rtol=1e-6)
    assert np.abs(each.mean(0)[::-1] - rows["margin_drop"]).max() > 1e-4  # control: other heads
    assert (rows["margin_low"] < rows["margin_drop"]).all()
    assert (rows["margin_drop"] < rows["margin_high"]).all()
    assert not read_table(run.drops("zero"), DROPS).to_pandas()["estimate"].any()


def test_weights_only_where_a_recipe_names_the_screen(run: RunPaths, config: dict[str, Any]) -> None:
    head_weights(config, run, "guess")
    found = HeadWeights.load(run.head_weights("guess"))
    rows = read_table(run.drops("screen"), DROPS).to_pandas()
    drops = rows.loc[rows["layer"] == 0, "margin_drop"].to_numpy()
    shifted = drops - drops.min()
    np.testing.assert_allclose(found.weights, shifted / shifted.sum(), rtol=1e-9)
    assert found.intervention == "gradient"
    part = {key: config[key] for key in ("run", "model", "ablation", "calibration", "evaluation")}
    assert [one["name"] for one in fill(part, "config")["weights"]["recipes"]] == ["zero"]


def test_ranks_against_measured_drops(run: RunPaths, config: dict[str, Any]) -> None:
    """Against scipy over plain tables; the report has them, and tools say that they are estimates."""
    rng = np.random.default_rng(0)
    index = [(bench, layer, head) for bench in "ab" for layer in (0, 1) for head in range(5)]
    frame = pd.DataFrame(index, columns=["benchmark", "layer", "head"])
    zero = frame.assign(ablation="z", intervention="zero", margin_drop=rng.normal(size=20))
    other = zero.assign(ablation="m", intervention="mean")
    screen = frame.assign(ablation="s", margin_drop=rng.normal(size=20), margin_size=rng.random(20))
    found = rank_correlations(pd.concat([zero, other]), screen.sample(frac=1.0, random_state=0))
    assert [(row["ablation"], row["layer"], row["heads"]) for row in found] == [
        ("z", 0, 5), ("z", 1, 5), ("z", None, 10),
    ]  # fmt: skip
    means = [one.groupby(["layer", "head"]).mean(numeric_only=True) for one in (screen, zero)]
    for row in found:
        own = [one if row["layer"] is None else one.loc[row["layer"]] for one in means]
        for column in ("margin_drop", "margin_size"):
            expected = stats.spearmanr(own[0][column], own[1]["margin_drop"])[0]
            assert row[column] == pytest.approx(expected)

    read = Run.read(config, run.root)
    assert read.ablations == ["zero"]
    assert "rank correlation, size" in _screening(read)
    assert "nothing was switched off" in show(run.drops("screen"))
    assert "estimates" in dict(overview(Path(run.root)))["drops/screen.parquet"]
    with pytest.raises(InputError, match="only measured drops are exported"):
        export_heads(run.root, "csv", f"{run.root}/x.csv", "screen")
    assert "2 x 2 = 4 heads are estimated for about 3 forward passes" in plan(config)


def test_what_does_not_fit_is_refused(run: RunPaths, config: dict[str, Any]) -> None:
    screen = config["ablation"]["recipes"][1]
    narrowed = {**screen, "layers": [1]}
    changed = {**config, "ablation": {**config["ablation"], "recipes": [narrowed]}}
    with pytest.raises(InputError, match=r"it is of other layers than \[1\]"):
        head_drops(changed, run, "screen")
    for recipe, said in (
        (
            {"name": "x", "ablation": "screen"},
            "drops in the margin alone, not in value; write measure",
        ),
        ({"name": "x", "ablation": "screan", "measure": "margin"}, "screan.*Did you mean 'screen'"),
    ):
        part = {key: config[key] for key in ("run", "model", "ablation", "calibration", "evaluation")}
        with pytest.raises(InputError, match=said):
            check(fill({**part, "weights": {"recipes": [recipe]}}, "config"))
    with pytest.raises(InputError, match="ablation mode 'gradient'"):
        AblateHeads([Head(0, 0)], mode="gradient")


def test_a_row_is_measured_or_an_estimate(run: RunPaths, tmp_path: Path) -> None:
    for name, change, said in (
        ("screen", {"drop": 1.0}, "estimate True; an estimate has no drop"),
        ("screen", {"estimate": False}, "estimate False; it is true of the intervention gradient"),
        ("screen", {"margin_size": -1.0}, "margin_size -1.0; it must be 0 or more"),
        ("zero", {"estimate": True}, "an estimate has no reference_value"),
        ("zero", {"estimate": None}, "estimate None; it must be true or false"),
        ("zero", {"drop": None}, "drop nan"),
    ):
        table = read_table(run.drops(name), DROPS)
        rows = [{**row, **change} for row in table.to_pylist()]
        write_table(tmp_path / "x.parquet", rows, DROPS, provenance_of(table, "x"))
        with pytest.raises(InputError, match=said):
            read_table(tmp_path / "x.parquet", DROPS)
