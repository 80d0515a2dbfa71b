"""Weights recipes that choose their layer, and weights of another layer: told before any job."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hawk.config.checks import check
from hawk.config.load import fill
from hawk.config.queries import config_subset, cost_weights, with_weights
from hawk.core.errors import InputError
from hawk.core.head_weights import SHIPPED, HeadWeights
from hawk.core.heads import Geometry

CHOSEN = {"method": "hawk", "weights": "chosen"}
LAYERS = {
    "s0": {"intervention": "selection"},
    "s1": {"intervention": "selection", "layer": 1},
    "s2": {"intervention": "selection", "layer": 2},
}


def checked(
    changes: dict[str, dict] | None = None,
    recipe: dict[str, Any] | None = None,
    variant: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A config whose weights ``chosen`` choose between layers 0, 1 and 2. changes: of its ablations."""
    ablations = [{"name": name, **LAYERS[name], **(changes or {}).get(name, {})} for name in LAYERS]
    raw = {
        "run": "r",
        "model": {"path": "someone/model", "layers": 4, "heads": 8},
        "ablation": {"recipes": [*ablations, {"name": "zero", "intervention": "zero"}]},
        "weights": {"recipes": [{"name": "chosen", "ablation": ["s2", "s0", "s1"], **(recipe or {})}]},
        "calibration": {"benchmarks": ["digits"]},
        "evaluation": {
            "benchmarks": ["digits"],
            "variants": [{"name": "v", **(variant or CHOSEN)}],
        },
    }
    return check(fill(raw, "c"), "c")


def test_variants_take_the_layer_from_the_weights() -> None:
    config = checked()
    assert config["weights"]["recipes"][0]["ablation"] == ["s2", "s0", "s1"]
    for variant in (CHOSEN, {**CHOSEN, "layer": None}, {"method": "mmr", "scorer": CHOSEN}):
        checked(variant=variant)
    checked({name: {"intervention": "keep_only"} for name in LAYERS})
    checked(recipe={"normalization": "uniform"})
    checked(recipe={"normalization": "uniform", "ablation": "s0"})


MIXED = [
    (
        {"ablation": ["s0", "zero"]},
        {},
        "intervention of ablation 'zero' is 'zero'; a layer is chosen between",
    ),
    (
        {},
        {"s1": {"intervention": "keep_only"}},
        "intervention of ablation 's2' is 'selection', and 'keep_only' of 's1'",
    ),
    ({}, {"s1": {"ratio": 0.9}}, "ratio of ablation 's2' is 0.8, and 0.9 of 's1'"),
    ({}, {"s0": {"reduction": "max"}}, "reduction of ablation 's2' is 'mean', and 'max' of 's0'"),
    ({}, {"s0": {"normalization": "none"}}, "normalization of ablation 's2' is 'l2', and 'none' of 's0'"),
    ({}, {"s0": {"rope": True}}, "rope of ablation 's2' is False, and True of 's0'"),
    ({}, {"s0": {"query_span": "last_token"}}, "query_span of ablation 's2' is 'instruction', and 'last_t"),
    ({}, {"s0": {"layer": 1}}, "layer of ablation 's1' is 1, as that of 's0'"),
    ({"query": "calibrated"}, {}, "query 'calibrated' belongs to one layer.* 0, 1, 2; write query: question"),
    (
        {"ablation": ["s0", "s4"]},
        {},
        r"'chosen': ablation \(a name of ablation.recipes\) 's4'. Allowed: s0, s1, s2",
    ),
    ({"ablation": ["s0"]}, {}, r"\['s0'\] is too short"),
    ({"ablation": ["s0", "s0"]}, {}, "non-unique"),
    ({"ablation": ["s0", 1]}, {}, "weights.recipes.0.ablation.1: 1 is not of type 'string'"),
]


@pytest.mark.parametrize(("recipe", "changes", "said"), MIXED, ids=[said[:40] for *_, said in MIXED])
def test_ablations_that_differ_in_more_than_the_layer_are_refused(
    recipe: dict, changes: dict, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        checked(changes, recipe)
    assert "\n" not in str(caught.value)
    if "weights.recipes, " in str(caught.value):
        assert "'chosen'" in str(caught.value)


@pytest.mark.parametrize("inside", [False, True])
def test_a_layer_beside_weights_that_say_their_own_is_refused(inside: bool) -> None:
    own = {**CHOSEN, "layer": 1}
    variant = {"method": "mmr", "scorer": own} if inside else own
    with pytest.raises(InputError, match=r"layer 1: weights 'chosen' say their own layer, one of 0, 1, 2; l"):
        checked(variant=variant)
    with pytest.raises(InputError, match="needs head weights with a mean query"):
        checked(variant={**CHOSEN, "query": "calibrated"})


def test_their_job_depends_on_the_ablations_that_they_name() -> None:
    """And that of another recipe on its own alone, whatever is chosen beside it."""
    config = checked()
    named = [one["name"] for one in with_weights(config, "chosen")["ablation"]["recipes"]]
    assert named == ["s2", "s0", "s1"]
    one = {
        "name": "one",
        "ablation": "s1",
        "normalization": "min_shift",
        "measure": "value",
        "query": "question",
    }
    alone = {**config, "weights": {"recipes": [one]}}
    both = {**config, "weights": {"recipes": [*config["weights"]["recipes"], one]}}
    keys = ("ablation.recipes", "weights.recipes")
    wanted = config_subset(with_weights(alone, "one"), *keys)
    assert config_subset(with_weights(both, "one"), *keys) == wanted
    assert [one["name"] for one in json.loads(wanted)["ablation"]["recipes"]] == ["s1"]


def test_measured_cost_waits_for_a_chosen_layer_alone() -> None:
    config = checked()
    assert cost_weights(config) == ["chosen"]
    config["evaluation"]["variants"].append({"name": "grid", "method": "grid"})
    config["cost"]["variants"] = ["grid"]
    assert cost_weights(config) == []
    config["cost"]["variants"] = None
    config["weights"]["recipes"][0]["ablation"] = "s1"
    assert cost_weights(config) == []


# --- weights from a file ----------------------------------------------------------------------------


def with_variant(
    variant: dict[str, Any], layers: int = 4, heads: int = 8, model: str = "someone/model"
) -> None:
    raw = {
        "run": "r",
        "model": {"path": model, "layers": layers, "heads": heads},
        "calibration": {"benchmarks": ["digits"]},
        "evaluation": {
            "benchmarks": ["digits"],
            "variants": [{"name": "v", **variant}],
        },
    }
    check(fill(raw, "c"), "c")


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_of_another_layer_is_refused_before_any_job(tmp_path: Path, inside: bool) -> None:
    path = str(tmp_path / "w.json")
    replace(HeadWeights.uniform(Geometry(4, 8, 4, 2)), layer=2).save(path)

    def check_file(**layer: int) -> None:
        own = {"method": "hawk", "weights": path, **layer}
        with_variant({"method": "mmr", "scorer": own} if inside else own)

    check_file(layer=2)
    for wrong in ({}, {"layer": 1}):
        layer = wrong.get("layer", 0)
        said = rf"'v.*: weights '.*w.json' are of layer 2, and .* in layer {layer}; write layer: 2 beside"
        with pytest.raises(InputError, match=said) as caught:
            check_file(**wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_name_of_another_layer_is_refused_before_any_job(path: Path) -> None:
    weights = HeadWeights.load(path)
    size = {"layers": weights.geometry.layers, "heads": weights.geometry.heads}
    own, other = {"method": "hawk", "weights": path.stem}, weights.layer + 1
    with_variant({**own, "layer": weights.layer}, **size)
    with pytest.raises(InputError, match=rf"are of layer {weights.layer}, .* tokens in layer {other}; write"):
        with_variant({**own, "layer": other}, **size)


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_of_another_family_is_refused_before_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    """Of a model folder here, whose geometry is the same."""
    monkeypatch.chdir(tmp_path)
    weights = HeadWeights.uniform(Geometry(4, 8, 4, 2))
    own = {"method": "hawk", "weights": "w.json"}
    variant = {"method": "mmr", "scorer": own} if inside else own
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps({"model_type": "internvl"}))
    for family in ("internvl", None):
        replace(weights, model={"family": family}).save(tmp_path / "w.json")
        with_variant(variant, model="./model")
    replace(weights, model={"family": "qwen2_5_vl"}).save(tmp_path / "w.json")
    with pytest.raises(InputError, match=r"'v': weights 'w.json' .* 'qwen2_5_vl' model; .* says 'internvl'"):
        with_variant(variant, model="./model")
    with_variant(variant)  # of the Hub: seen once it is loaded
