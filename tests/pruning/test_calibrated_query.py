"""The calibrated query against the model's own products, and the exported scorer against the pruner."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import oracles
import pytest
import torch
from oracles import FAMILIES
from tiny_prompts import Image, build
from tiny_random import HEADS, KV_HEADS, MODELS

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.models import family_of
from hawk.pruning import pruner
from hawk.pruning.mean_query import mean_query
from hawk.pruning.methods.hawk import Hawk

QUESTIONS = ([20], [20, 21, 22, 23], [30, 31])  # of unlike lengths: a mean over tokens is another number
BATCHES = ([[Image(2, 2), *QUESTIONS[0]], [Image(2, 3), *QUESTIONS[1]]], [[*QUESTIONS[2], Image(1, 3)]])


def calibrated(family: str, layer: int = 0) -> HeadWeights:
    model = MODELS[family]()
    handle = family_of(model)
    found, count = mean_query(model, handle, [build(family, rows) for rows in BATCHES], layer)
    assert count == 3
    geometry = handle.geometry(model)
    weights = tuple(float(1 + head) for head in range(geometry.heads))
    return HeadWeights(weights, geometry, layer, mean_query=tuple(map(tuple, found.tolist())))


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_mean_over_the_questions_of_the_models_own_products(family, layer):
    """By linearity: the same image's states under every question's query, one full matrix at a time."""
    model = MODELS[family]()
    weights = calibrated(family, layer)
    inputs = build(family, [[20, Image(2, 3), 25]])
    (context,) = oracles.contexts_of(Hawk(pruning_ratio=0.5), model, inputs)
    raw = Hawk(weights=weights, query="calibrated").head_scores(context)
    attention = family_of(model).layers(model)[layer].self_attn
    caught: dict[str, list[torch.Tensor]] = {"q": [], "k": []}
    handles = [
        (
            getattr(attention, f"{name}_norm", None) or getattr(attention, f"{name}_proj")
        ).register_forward_hook(lambda module, args, out, name=name: caught[name].append(out))
        for name in "qk"
    ]
    asked = []
    with torch.no_grad():
        for draw, row in [one for rows in BATCHES for one in enumerate(rows)]:
            alone = build(family, [row], [draw])
            (other,) = oracles.contexts_of(Hawk(pruning_ratio=0.5), model, alone)
            caught["q"].clear()
            model(**alone)
            queries = caught["q"][-1][0].reshape(alone["input_ids"].shape[1], HEADS, -1)
            asked.append(queries[other.query_index()].mean(0))
        caught["k"].clear()
        model(**inputs)
    for handle in handles:
        handle.remove()
    keys = caught["k"][-1][0].reshape(inputs["input_ids"].shape[1], KV_HEADS, -1)[context.visual_index]
    keys = keys.repeat_interleave(HEADS // KV_HEADS, 1)
    expected = torch.einsum("hd,nhd->hn", torch.stack(asked).mean(0), keys) / keys.shape[-1] ** 0.5
    tolerance = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=tolerance)
    one = torch.einsum("hd,nhd->hn", asked[0], keys) / keys.shape[-1] ** 0.5
    assert (one - expected).abs().max() > 100 * tolerance, "one question's query must be told apart"


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_is_read(family):
    """At layer 0 another question leaves every score as it is; the prompt's own query changes them."""
    model, weights = MODELS[family](), calibrated(family)
    for query, same in (("calibrated", True), ("question", False)):
        given = Hawk(weights=weights, pruning_ratio=0.5, query=query)
        scores = [
            given.scores(oracles.contexts_of(given, model, build(family, [[Image(3, 3), *words]], [4]))[0])
            for words in ([20, 21], [30, 31, 32])
        ]
        assert torch.equal(*scores) == same
        assert given.uses_query != same
        assert given.reads_other_question != same


def test_a_mean_query_that_is_left_unused_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Weights with one may be asked the prompt's question; the log of a job says which was."""
    weights = calibrated("qwen2_5_vl")
    said = "hold a mean query (query: calibrated); the prompt's own question is used"
    for holds, query, told in ((True, "question", 1), (True, "calibrated", 0), (False, "question", 0)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            Hawk(weights=weights if holds else replace(weights, mean_query=None), query=query)
        assert sum(said in record.getMessage() for record in caplog.records) == told


def test_what_a_calibrated_query_cannot_do_is_said_in_one_line(tmp_path: Path) -> None:
    weights = calibrated("qwen2_5_vl")
    for options, said in (
        ({"weights": None}, "needs head weights with a mean query"),
        ({"weights": replace(weights, mean_query=None)}, "needs head weights with a mean query"),
        ({"rope": True}, "needs rope false"),
        ({"text_reduction": "max"}, "needs the text reduction 'mean', not 'max'"),
        ({"layer": 1}, "of layer 0, and tokens are scored in layer 1"),
        ({"query": "calibratd"}, "calibrated"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            Hawk(**{"weights": weights, "query": "calibrated", **options})
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no prompt with an image"):
        mean_query(MODELS["qwen2_5_vl"](), family_of(MODELS["qwen2_5_vl"]()), [])


def test_a_scorer_with_a_calibrated_query_makes_the_whole_method_query_free(tmp_path: Path) -> None:
    calibrated("qwen2_5_vl").save(tmp_path / "w.json")
    scorer = {"method": "hawk", "weights": str(tmp_path / "w.json"), "query": "calibrated"}
    assert not pruner("mmr", scorer=scorer, pruning_ratio=0.5).uses_query
    assert pruner("mmr", scorer={**scorer, "query": "question"}, pruning_ratio=0.5).uses_query
