"""Options of variants are checked before any job: by their type, and by what the method says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hawk import pruning
from hawk.config.checks import check
from hawk.config.load import fill
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.pruning.options import facts


def checked(**variant: Any) -> dict[str, Any]:
    reference = {"name": "v", "method": "hawk", **variant}
    raw = {
        "run": "r",
        "model": {"path": "someone/model", "layers": 4, "heads": 8},
        "calibration": {"benchmarks": ["digits"]},
        "evaluation": {"benchmarks": ["digits"], "variants": [reference]},
    }
    return check(fill(raw, "c"), "c")


BAD = [
    ({"seed": "x"}, "seed"),
    ({"method": "random", "seed": "x"}, "give seeds"),
    ({"rope": "maybe"}, "rope is 'maybe'; it must be true or false"),
    ({"rope": 1}, "rope is 1"),
    ({"shuffle_query": "x"}, "shuffle_query is 'x'; it must be true or false"),
    ({"shuffle_query": 1}, "shuffle_query is 1"),
    ({"permute": "yes"}, "permute"),
    ({"layer": 99}, "layer is 99; it must be from 0 to 3"),
    ({"layer": -1}, "layer is -1"),
    ({"layer": 1.0}, "layer is 1.0; it must be a whole number or null"),
    ({"layer": True}, "layer is True"),
    ({"text_reduction": "median"}, "text_reduction is 'median'; .*'mean'"),
    ({"text_reduction": None}, "text_reduction is None; it must be text"),
    ({"score_dtype": "int8"}, "score_dtype is 'int8'"),
    ({"query_span": ["instruction"]}, "query_span is"),
    ({"view": "../../x"}, "unknown key"),
    ({"method": "fastv", "layer": 0}, "layer is 0; it must be from 1 to 3"),
    ({"method": "dart", "image_pivots": 0}, "image_pivots is 0; it must be 1 or more"),
    ({"method": "dart", "image_pivots": "ten"}, "a whole number"),
    ({"method": "cdpruner", "relevance_sign": 2}, "relevance_sign is 2"),
    ({"method": "mmtok", "text_temperature": 0}, "it must be above 0"),
    ({"method": "mmtok", "vision_weight": float("nan")}, "vision_weight is nan"),
    ({"method": "mmr"}, "scorer is None; it must be a method with its options"),
    ({"method": "mmr", "scorer": "hawk"}, "scorer is 'hawk'"),
    ({"method": "mmr", "scorer": {}}, "names no method"),
    ({"method": "mmr", "scorer": {"layer": 1}}, "names no method"),
    ({"method": "mmr", "scorer": {"method": "hawk", "layer": 9}}, "layer is 9"),
    ({"method": "mmr", "scorer": {"method": "hawk"}, "trade_off": 2}, "from 0 to 1"),
    (
        {"method": "discount", "scorer": {"method": "hawk"}, "strength": -1},
        "strength is -1; .* from 0 to 100",
    ),
    ({"method": "discount", "scorer": {"method": "hawk"}, "strength": 101}, "strength is 101"),
    ({"method": "dpp", "scorer": {"method": "hawk"}, "power": 0}, "power is 0; .* above 0 and at most 100"),
    ({"method": "facility_location", "power": 101}, "power is 101"),
    (
        {"method": "dpp", "scorer": {"method": "divprune"}},
        "'divprune' has no score for every token",
    ),
    ({"method": "mmr", "scorer": {"method": "fastv"}}, "'fastv' has no score"),
    ({"method": "facility_location", "scorer": {"method": "cdpruner"}}, "'cdpruner' has no score"),
    ({"method": "visionzip", "layer": "last"}, "layer is 'last'"),
    ({"method": "cdpruner", "clip": "models/clip/none"}, "clip 'models/clip/none': no such model folder"),
    ({"method": "cdpruner", "clip": "./clip"}, "clip './clip': no such model folder"),
    ({"method": "cdpruner", "clip": 3}, "clip is 3"),
    ({"method": "dpp", "scorer": {"method": "hawk"}, "clip": "a/b"}, "clip"),
    *(
        ({"weights": name}, "no name in weights.recipes, no file")
        for name in ("outputs/", "a/$(id)", "a b/c", "-a/b")
    ),
]


@pytest.mark.parametrize(("variant", "said"), BAD, ids=[str(variant) for variant, _ in BAD])
def test_refused_before_any_job(variant: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        checked(**variant)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "variant",
    [
        {"rope": True, "layer": 3, "text_reduction": "max"},
        {"layer": None},
        {"method": "mmtok", "vision_weight": 1},
        {"method": "mmr", "scorer": {"method": "hawk", "rope": True}, "trade_off": 0.25},
        {"method": "facility_location"},
        {"method": "visionzip", "layer": -2},
        {"method": "cdpruner", "clip": None},
        {"method": "cdpruner", "clip": "openai/clip-vit-large-patch14-336"},  # the Hub's: told by the job
    ],
    ids=str,
)
def test_right_options_pass(variant: dict[str, Any]) -> None:
    checked(**variant)


@pytest.mark.parametrize("method", sorted(pruning.REGISTRY))
def test_what_a_method_says_of_its_options_is_what_it_refuses(method: str) -> None:
    """The facts that the config's checks read, and the class, refuse the same values."""
    known = facts(method)
    for name in known.allowed:
        with pytest.raises(InputError):
            pruning.pruner(method, **{name: "no such value"})
    scorer = {"scorer": {"method": "hawk"}} if known.needs_scorer else {}
    for name, bound in known.bounds.items():
        assert name in known.options
        low, _, high = bound.removeprefix("above ").partition("..")
        outside = [int(low) - (not bound.startswith("above"))]
        outside += [int(high) + 1] if high not in ("", "layers") else []
        for value in outside:
            with pytest.raises(InputError, match=f"{name} is {value}; it must be "):
                pruning.pruner(method, **{name: value, **scorer})


def test_weight_files_are_read_before_any_job(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    HeadWeights.uniform(Geometry(4, 8, 4, 16)).save(path)
    checked(weights=str(path))
    HeadWeights.uniform(Geometry(4, 6, 2, 16)).save(path)
    with pytest.raises(InputError, match=r"of a model with 6 heads; model.heads is 8"):
        checked(weights=str(path))
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(InputError, match=r"variants, '.*: weights: .*w.json: the key 'model' is missing"):
        checked(weights=str(path))


QUERY_FREE = {"name": "v", "method": "hawk", "query": "calibrated"}
AT_LAYER = {"name": "alone", "intervention": "keep_only"}


@pytest.mark.parametrize(
    ("recipe", "ablation", "variant", "said"),
    [
        ({"query": "calibrated"}, {}, {"weights": "own"}, None),
        ({"query": "calibrated"}, {}, {"weights": "own", "query": "question"}, None),
        ({"query": "calibrated"}, {"rope": True}, {"weights": "own", "rope": False}, None),
        (
            {"query": "calibrated"},
            {"rope": True},
            {"weights": "own"},
            "'v.*': query 'calibrated' needs rope false",
        ),
        ({"query": "calibrated"}, {}, {"weights": "own", "rope": True}, "needs rope false"),
        ({"query": "calibrated"}, {}, {"weights": "own", "prior": True}, "needs prior false"),
        ({"query": "calibrated"}, {"reduction": "max"}, {"weights": "own"}, "'mean', not 'max'"),
        ({"query": "calibrated"}, {}, {"weights": "own", "shuffle_query": True}, "reads no question"),
        ({}, {}, {"weights": "own"}, "needs head weights with a mean query"),
        ({}, {}, {"weights": "uniform"}, "needs head weights with a mean query"),
        ({}, {}, {}, "needs head weights with a mean query"),
        ({}, {}, {"weights": "someone/weights"}, None),
        ({}, {}, {"weights": "own", "query": "calibratd"}, "query is 'calibratd'; .*'calibrated'"),
        ({"query": "calibratd"}, {}, {"weights": "own"}, "calibratd"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_calibrated_query_needs_weights_that_hold_one(
    recipe: dict, ablation: dict, variant: dict, said: str | None, inside: bool
) -> None:
    chosen = {**QUERY_FREE, **variant}
    if inside:
        scorer = {key: value for key, value in chosen.items() if key not in ("name", "shuffle_query")}
        outer = {key: value for key, value in chosen.items() if key in ("name", "shuffle_query")}
        chosen = {**outer, "method": "mmr", "scorer": scorer}
    raw = {
        "run": "r",
        "model": {"path": "someone/model", "layers": 4, "heads": 8},
        "ablation": {"recipes": [{**AT_LAYER, **ablation}]},
        "weights": {"recipes": [{"name": "own", "ablation": "alone", **recipe}]},
        "calibration": {"benchmarks": ["digits"]},
        "evaluation": {"benchmarks": ["digits"], "variants": [chosen]},
    }
    if said is None:
        check(fill(raw, "c"), "c")
        return
    with pytest.raises(InputError, match=said) as caught:
        check(fill(raw, "c"), "c")
    assert "\n" not in str(caught.value)


def test_a_file_without_a_mean_query_is_told_before_any_job(tmp_path: Path) -> None:
    weights, path = HeadWeights.uniform(Geometry(4, 8, 4, 2)), tmp_path / "w.json"
    weights.save(path)
    with pytest.raises(InputError, match="needs head weights with a mean query"):
        checked(weights=str(path), query="calibrated")
    replace(weights, mean_query=((1.0, 2.0),) * 8).save(path)
    checked(weights=str(path), query="calibrated")
    checked(weights=str(path))  # the query may be left unused
    with pytest.raises(InputError, match="needs rope false"):
        checked(weights=str(path), query="calibrated", rope=True)


@pytest.mark.parametrize("where", ["variant", "scoring", "recipe"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"prior": True}, "query_span 'last_token' needs prior false"),
        ({"shuffle_query": True}, "shuffle_query changes nothing with query_span 'last_token'"),
        ({}, None),
    ],
)
def test_the_last_token_is_no_question(where: str, inside: bool, keys: dict, said: str | None) -> None:
    """Wherever the span is said: before any job."""
    span = {"query_span": "last_token"}
    scorer = {"method": "hawk", "weights": "own" if where == "recipe" else "uniform"}
    scorer |= {key: value for key, value in keys.items() if key == "prior"}
    scorer |= span if where == "variant" else {}
    outer = {"name": "v", **{key: value for key, value in keys.items() if key != "prior"}}
    chosen = {**outer, "method": "mmr", "scorer": scorer} if inside else {**outer, **scorer}
    recipe = {"name": "sel", "intervention": "selection", "ratio": 0.8, **(span if where == "recipe" else {})}
    raw = {
        "run": "r",
        "model": {"path": "someone/model", "layers": 4, "heads": 8},
        "scoring": span if where == "scoring" else {},
        "ablation": {"recipes": [recipe]},
        "weights": {"recipes": [{"name": "own", "ablation": "sel"}]},
        "calibration": {"benchmarks": ["digits"]},
        "evaluation": {"benchmarks": ["digits"], "variants": [chosen]},
    }
    if said is None:
        check(fill(raw, "c"), "c")
        return
    with pytest.raises(InputError, match=said):
        check(fill(raw, "c"), "c")
