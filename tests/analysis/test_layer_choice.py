"""The layer of weights that choose it, against the same choice by plain pandas from raw scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from factories import LAYERS, layers_config, measure_drops, toy_benchmarks, weights, write_layers

from hawk.analysis.statistics import layer_shares
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, layer_choice, recipe_of
from hawk.core.paths import RunPaths
from hawk.steps.head_weights import head_weights

# Right answers in layers 0, 1, 2. By natives layer 2 would win, whose benchmark has the larger scale.
BEST_1 = {"toy": [0.50, 0.60, 0.40], "pairs": [0.5, 0.7, 0.8]}
BEST_0 = {"toy": [0.9, 0.5, 0.5], "pairs": [0.9, 0.5, 0.5]}
# Of all heads together, and alone: by the one that decides layer 1 is best, by the other layer 0.
SHARES = {"selection": (BEST_1, BEST_0), "keep_only": (BEST_0, BEST_1)}


@pytest.fixture(scope="module", autouse=True)
def toys():
    with toy_benchmarks():
        yield


def written(root: Path, intervention: str = "selection", shares: Any = None, **recipe: Any) -> dict[str, Any]:
    """A run with drops. shares: of all heads together, and alone."""
    config = layers_config(intervention, **recipe)
    write_layers(root, config, *(shares or SHARES[intervention]))
    measure_drops(config, root)
    return config


def made(config: dict[str, Any], root: Path, recipe: str = "chosen", subset: str = "pooled") -> HeadWeights:
    head_weights(config, RunPaths(root), recipe, subset)
    return HeadWeights.load(RunPaths(root).head_weights(recipe, subset))


def native(root: Path, name: str, ablation: str, which: str) -> float:
    paths = RunPaths(root)
    scores = pd.read_parquet(paths.scores(name, ablation, which))
    rows = scores.merge(pd.read_parquet(paths.samples("calibration", name))[["sample_id", "metric_group"]])
    if name == "toy":
        return 100 * rows["score"].mean()
    return 100 * (rows["score"].mean() + rows.groupby("metric_group")["score"].min().mean())


def by_pandas(root: Path, intervention: str, names: list[str]) -> pd.DataFrame:
    """Native values, layer by benchmark."""
    heads = range(4)
    values = {
        name: [
            np.mean([native(root, name, own, f"L{layer}H{head}") for head in heads])
            if intervention == "keep_only"
            else native(root, name, own, "reference")
            for layer, own in enumerate(LAYERS)
        ]
        for name in names
    }
    return pd.DataFrame(values)


@pytest.mark.parametrize("intervention", ["selection", "keep_only"])
def test_the_layer_that_chooses_best_is_taken(tmp_path: Path, intervention: str) -> None:
    config = written(tmp_path, intervention)
    best = {}
    for subset, names in {
        "pooled": ["toy", "pairs"],
        "without-toys": ["pairs"],
        "without-pairs": ["toy"],
    }.items():
        loaded = made(config, tmp_path, subset=subset)
        natives = by_pandas(tmp_path, intervention, names)
        shares = (natives / natives.max()).mean(axis=1)
        best[subset] = loaded.layer
        assert loaded.layer == shares.idxmax(), subset
        told = {row["layer"]: row for row in loaded.provenance["settings"]["layers"]}
        assert {layer: row["score"] for layer, row in told.items()} == pytest.approx(shares.to_dict())
        assert {layer: row["ablation"] for layer, row in told.items()} == dict(enumerate(LAYERS))
        for layer, row in told.items():
            assert row["values"] == pytest.approx(natives.loc[layer].to_dict())
        # The weights are those of that layer's own recipe.
        own = LAYERS[loaded.layer]
        assert loaded.weights == made(config, tmp_path, own, subset).weights
        assert recipe_of(loaded)["ablation"] == own
        said = layer_choice(loaded) or ""
        assert f"Layer {loaded.layer} was chosen" in said
        assert all(f"{share:.3f} (layer {layer})" in said for layer, share in shares.items())
        assert layer_choice(HeadWeights.load(RunPaths(tmp_path).head_weights(own, subset))) is None
    # The case tells apart: subset from subset, shares from natives, what decides from the other number.
    assert best == {"pooled": 1, "without-toys": 2, "without-pairs": 1}
    assert by_pandas(tmp_path, intervention, ["toy", "pairs"]).mean(axis=1).idxmax() == 2
    other = {"selection": "keep_only", "keep_only": "selection"}[intervention]
    assert by_pandas(tmp_path, other, ["toy", "pairs"]).mean(axis=1).idxmax() == 0


def test_the_choice_follows_the_scores(tmp_path: Path) -> None:
    """Control: with the scores of two layers swapped the other one is taken."""
    swapped = {name: [shares[0], shares[2], shares[1]] for name, shares in BEST_1.items()}
    assert made(written(tmp_path / "as-is"), tmp_path / "as-is").layer == 1
    assert made(written(tmp_path / "swapped", shares=(swapped, BEST_0)), tmp_path / "swapped").layer == 2


def test_of_equal_layers_the_lower_is_taken(tmp_path: Path) -> None:
    equal = {"toy": [0.5, 0.8, 0.8], "pairs": [0.5, 0.8, 0.8]}
    config = written(tmp_path, shares=(equal, equal))
    assert config["weights"]["recipes"][-1]["ablation"] == ["s2", "s0", "s1"]
    assert made(config, tmp_path).layer == 1
    thirds = [{"a": 1 / 3, "b": 0.3}, {"a": 0.3, "b": 1 / 3}]
    assert layer_shares(thirds) == pytest.approx([0.95, 0.95])


def test_a_benchmark_without_any_score_tells_nothing(tmp_path: Path) -> None:
    assert layer_shares([{"a": 0.0, "b": 5.0}, {"a": 0.0, "b": 10.0}]) == [0.75, 1.0]
    shares = {"toy": [0.0, 0.0, 0.0], "pairs": [0.5, 0.7, 0.8]}
    config = written(tmp_path, shares=(shares, BEST_0))
    assert made(config, tmp_path).layer == 2


def test_uniform_weights_are_of_the_layer_that_is_chosen(tmp_path: Path) -> None:
    """The control: no drop is read, not even where all are equal."""
    config = written(tmp_path, normalization="uniform")
    config["weights"]["recipes"] += [weights("s2-uniform", ablation="s2", normalization="uniform")]
    for recipe, layer in (("chosen", 1), ("s2-uniform", 2)):
        loaded = made(config, tmp_path, recipe)
        assert (loaded.layer, loaded.weights) == (layer, (0.25,) * 4)
        assert loaded.weight_normalization == "uniform"
    assert made(config, tmp_path, "s2").weights != (0.25,) * 4
    for name in config["calibration"]["benchmarks"]:
        paths = RunPaths(tmp_path)
        reference = pq.read_table(paths.scores(name, "s1", "reference"))
        for head in range(4):
            path = paths.scores(name, "s1", f"L1H{head}")
            told = files.provenance_of(pq.read_table(path), path)
            files.write_table(path, reference.to_pandas(), schemas.SCORES, told)
    measure_drops(config, tmp_path)
    assert made(config, tmp_path).weights == (0.25,) * 4
    with pytest.raises(InputError, match="same drop"):
        made(config, tmp_path, "s1")


@pytest.mark.parametrize("key", ["samples", "model"])
def test_layers_scored_on_other_samples_or_models_are_not_compared(tmp_path: Path, key: str) -> None:
    config = written(tmp_path)
    path = RunPaths(tmp_path).scores("toy", "s2", "reference")
    table = pq.read_table(path)
    told = files.provenance_of(table, path)
    told["settings"][key] = {"id": "another"}
    files.write_table(path, table.to_pandas(), schemas.SCORES, told)
    with pytest.raises(InputError, match=rf"{key} .*'another'.*cannot be compared"):
        made(config, tmp_path)
    made(config, tmp_path, "s0")  # of one ablation


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("x", "must be a list"),
        ([1], "must be a table"),
        ([{"layer": 1}], "score' is missing"),
        ([{"layer": -1, "score": 1.0}], "layer is -1"),
        ([{"layer": 1, "score": "1"}], "score is '1'"),
    ],
)
def test_a_file_that_says_its_choice_otherwise_is_refused_in_words(
    tmp_path: Path, layers: Any, said: str
) -> None:
    config = written(tmp_path)
    made(config, tmp_path)
    path = Path(RunPaths(tmp_path).head_weights("chosen"))
    content = json.loads(path.read_text())
    content["provenance"]["settings"]["layers"] = layers
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        layer_choice(HeadWeights.load(path))
