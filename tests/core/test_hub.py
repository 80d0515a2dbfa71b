"""Head weights: shipped and from a path. ``test_hub_exchange.py`` has the Hub."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_random import MODELS

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, shipped
from hawk.core.heads import Geometry
from hawk.models import family_of
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.methods.mmr import Mmr

GEOMETRY = Geometry(layers=3, heads=4, kv_heads=2, head_dim=16)


def weights(geometry=GEOMETRY):
    values = tuple((i + 1) / 10 for i in range(geometry.heads))
    return HeadWeights(weights=values, geometry=geometry, model={"id": "someone/model"})


def test_file_there_and_back(tmp_path):
    weights().save(tmp_path / "w.json")
    assert HeadWeights.load(tmp_path / "w.json") == weights()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "format 3"),
        ({"weights": [0.5, 0.5]}, "2 weights for 4 heads"),
        ({"weights": [0.5, -0.5, 0.5, 0.5]}, "head 1 has weight -0.5"),
        ({"weights": [0, 0, 0, 0]}, "all weights are 0"),
        ({"layer": 3}, "layer 3 is outside"),
        ({"layer": "0"}, "layer is '0'"),
        ({"model": "someone/model"}, "model is"),
        ({"per_benchmark": [1]}, "per_benchmark is"),
    ],
)
def test_broken_files(tmp_path, change, message):
    path = tmp_path / "w.json"
    path.write_text(json.dumps({**weights().to_json(), **change}))
    with pytest.raises(InputError, match=message) as caught:
        HeadWeights.load(path)
    assert str(path) in str(caught.value)


def test_shipped_weights_are_the_authors():
    own = HeadWeights.load("qwen2.5-vl-7b")
    assert own.geometry == Geometry(layers=28, heads=28, kv_heads=4, head_dim=128)
    raw = own.provenance["raw_weights"]
    assert len(raw) == 28
    assert sum(raw) == pytest.approx(1.2616)
    assert (raw[0], raw[1], raw[26], raw[27]) == (0.0875, 0.3, 0.0, 0.0224)
    assert own.weights == tuple(pytest.approx(value / sum(raw)) for value in raw)
    assert sum(own.weights) == pytest.approx(1)
    assert own.provenance["license"] == "Apache-2.0"
    assert "Apache License" in own.provenance["notice"]
    assert Path(shipped()["qwen2.5-vl-7b"]).is_file()


def test_weights_of_another_model_name_both():
    model = MODELS["qwen2_5_vl"]()
    pattern = r"28 layers x 28 heads.*3 layers x 4 heads"
    with pytest.raises(InputError, match=pattern):
        Hawk(weights="qwen2.5-vl-7b", pruning_ratio=0.5).attach(model).__enter__()
    assert "generate" not in model.__dict__


@pytest.mark.parametrize("nested", [False, True], ids=["own", "of its scorer"])
def test_weights_of_another_family_are_refused_though_the_sizes_agree(nested):
    """As those of Qwen2.5-VL-7B and InternVL3-8B do."""
    model = MODELS["internvl"]()
    geometry = family_of(model).geometry(model)

    def attached(family):
        measured = replace(HeadWeights.uniform(geometry), model={"id": "someone/model", "family": family})
        own = Hawk(weights=measured, pruning_ratio=0.5)
        return (Mmr(scorer=own, pruning_ratio=0.5) if nested else own).attach(model)

    with pytest.raises(InputError, match="measured on a 'qwen2_5_vl' model; this one is 'internvl'"):
        attached("qwen2_5_vl").__enter__()
    assert "generate" not in model.__dict__
    with attached("internvl"):
        pass


@pytest.mark.parametrize("source", ["qwen2.5-vl-8b", "no/such.json"])
def test_unknown_weights_name_all_that_may_be_given(source):
    with pytest.raises(InputError, match=r"Allowed: a Hub id user/repo, a file, qwen2\.5-vl-7b\."):
        HeadWeights.load(source)


def test_a_revision_of_a_file_here_is_refused(tmp_path):
    weights().save(tmp_path / "w.json")
    for source in (str(tmp_path / "w.json"), "qwen2.5-vl-7b"):
        with pytest.raises(InputError, match=r"revision 'main': that is a file here"):
            HeadWeights.load(source, revision="main")
