"""The study's variants are ones that a config may have, and each can be built from its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hawk import study
from hawk.config import fill
from hawk.heads import Geometry
from hawk.paths import RunPaths
from hawk.pruning.signed import SignedHawk
from hawk.variants import build
from hawk.weights import HeadWeights

GEOMETRY = Geometry(layers=4, heads=8, kv_heads=4, head_dim=16)
CONFIG = Path(__file__).parents[1] / "config" / "study.yaml"


@pytest.fixture
def config():
    import yaml

    return fill(yaml.safe_load(CONFIG.read_text(encoding="utf-8")), str(CONFIG))


@pytest.fixture
def weights(config, tmp_path):
    """Weight files of every setting, from made-up drops of two families of benchmarks."""

    class Model:
        geometry = GEOMETRY
        source = {"id": "m", "revision": None}

        class family:  # noqa: N801
            name = "qwen2_5_vl"

    files = RunPaths(str(tmp_path))
    rng = np.random.default_rng(0)
    found = {
        name: {
            "drops": rng.normal(size=8),
            "low": rng.normal(size=8) - 1,
            "logprob": rng.normal(size=8),
            "samples": np.array(10),
        }
        for name in config["calibration"]["benchmarks"]
    }
    for one in (study.ZERO, *(setting.name for setting in study.SETTINGS)):
        study._write_weights(config, Model, files, one, found)
    return files, found


def test_every_variant_can_be_built(config, weights):
    files, _ = weights

    class Bench:
        family = "easy_vqa"  # what "*" becomes in the weights of sel-left-out

    made = study.variants(files)
    names = [variant["name"] for variant in made]
    assert len(set(names)) == len(names)
    assert {"hawk-uniform", "hawk-zero", "divprune", "blind", "random"} <= set(names)
    for variant in made:
        if variant.get("shuffle_query"):
            continue  # needs the questions
        model = type("Model", (), {"geometry": GEOMETRY})
        pruner, queries = study._pruner(config, model, variant, Bench, "0.8", 0, None)
        assert queries is None
        assert variant["method"] == "blind" or pruner.count(64) == 13
        for key, value in study.SETTINGS[-1].score().items():
            if variant["name"] == "sel-max":
                assert getattr(pruner, key) == value


def test_signed_weights_are_scaled_drops(config, weights):
    files, found = weights
    signed = json.loads(Path(files.head_weights("base-signed")).read_text())["signed"]
    expected = np.mean([one["drops"] / np.abs(one["drops"]).sum() for one in found.values()], 0)
    np.testing.assert_allclose(signed, expected)
    assert min(signed) < 0 < max(signed)
    pruner = SignedHawk(pruning_ratio=0.8, signed=signed)
    assert "signed=" in repr(pruner)


def test_a_left_out_family_did_not_serve(weights):
    files, found = weights
    subsets = sorted(path.stem for path in Path(files.root, "head_weights", "base-min_shift").glob("*"))
    assert "pooled" in subsets
    for subset in subsets:
        used = set(HeadWeights.load(files.head_weights("base-min_shift", subset)).samples)
        assert used == set(found) if subset == "pooled" else used < set(found)


def test_permuted_and_uniform(config, weights):
    files, _ = weights
    made = {variant["name"]: variant for variant in study.variants(files)}
    own = build(config, made["sel"], "0.8", 0, GEOMETRY).weights.weights
    other = build(config, made["sel-permuted"], "0.8", 1, GEOMETRY).weights.weights
    assert sorted(own) == sorted(other)
    assert own != other
