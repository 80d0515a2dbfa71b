"""``budget: per_image``: every image and frame chooses alone, and nothing is computed once per frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from matrix import PRUNERS
from oracles import FAMILIES, contexts_of
from tiny_prompts import Image, Video, build
from tiny_random import MODELS

from hawk.models import family_of
from hawk.pruning import pruner
from hawk.pruning.budget import kept_count
from hawk.pruning.prompt import prune

RATIO = "0.6"
ROWS = [[20, Image(2, 3), 21, Image(2, 2), 22, 23], [Video(6, 4, 2), 24, 25], [26, 27]]
# FastV scores inside the model; its budget is the same function on other numbers.
METHODS = [name for name in PRUNERS if not name.startswith("fastv")]


def make(name, **more):
    method, options = PRUNERS[name]
    return pruner(method, **options, pruning_ratio=RATIO, budget="per_image", **more)


def share_by_share(given, context):
    """Literally: a fresh context for every share, whose scores and all else are computed again."""
    kept = []
    for group in context.budget_group.unique():
        candidates = (context.budget_group == group).nonzero().flatten()
        count = kept_count(len(candidates), RATIO)
        if count < len(candidates):
            candidates = given.select(replace(context), candidates, count)
        kept += candidates.tolist()
    return sorted(kept)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_it_is_the_share_by_share_choice(name, family):
    model, inputs = MODELS[family](), build(family, ROWS)
    given = make(name)
    contexts = contexts_of(given, model, inputs)
    last = prune(given, model, family_of(model), inputs).last
    expected = [share_by_share(given, context) for context in contexts]
    assert [index.tolist() for index in last.kept_index[:2]] == expected
    for context, kept in zip(contexts, expected, strict=True):
        per_share = Counter(context.budget_group[kept].tolist())
        sizes = Counter(context.budget_group.tolist())
        assert per_share == {group: kept_count(size, RATIO) for group, size in sizes.items()}
        assert len(sizes) > 1
    pooled = prune(replace(given, budget="pooled"), model, family_of(model), inputs).last
    if family == "qwen2_5_vl":  # negative control: the sample as a whole chooses others
        assert [index.tolist() for index in pooled.kept_index[:2]] != expected


def watched(monkeypatch, cls, *names):
    """How often methods of a class are called."""
    calls = Counter()

    def watch(name, plain):
        def call(*args, **kwargs):
            calls[name] += 1
            return plain(*args, **kwargs)

        return call

    for name in names:
        monkeypatch.setattr(cls, name, watch(name, getattr(cls, name)))
    return calls


SCORED = ["hawk", "visionzip", "evs", "grid", "facility-hawk", "dpp-hawk", "mmr-hawk"]


@pytest.mark.parametrize("name", SCORED)
def test_a_prompt_is_scored_once(name, monkeypatch):
    model, inputs = (
        MODELS["qwen2_5_vl"](),
        build("qwen2_5_vl", [[Video(16, 2, 2), 20, 21], [Image(2, 2), 22]]),
    )
    given = make(name)
    scorer = getattr(given, "scorer", None) or given
    calls = watched(monkeypatch, type(scorer), "scores")
    prune(given, model, family_of(model), inputs)
    assert calls["scores"] == 2  # one for each prompt, with 16 shares and with one


def test_what_belongs_to_the_whole_prompt_is_made_once(monkeypatch):
    """The question of CDPruner and MMTok, hidden states and text pivots of DART."""
    from hawk.pruning.context import PruningContext
    from hawk.pruning.hidden import HiddenStates
    from hawk.pruning.methods.dart import Dart

    model, inputs = MODELS["qwen2_5_vl"](), build("qwen2_5_vl", [[Video(16, 2, 2), 20, 21]])
    for name in ("cdpruner", "mmtok"):
        with monkeypatch.context() as patch:
            asked = watched(patch, PruningContext, "query_embeddings")
            prune(make(name), model, family_of(model), inputs)
            assert asked["query_embeddings"] == 1, name
    embedded = watched(monkeypatch, HiddenStates, "_embed")
    calls = watched(monkeypatch, Dart, "_text_pivots", "select")
    prune(make("dart"), model, family_of(model), inputs)
    assert (embedded["_embed"], calls["_text_pivots"], calls["select"]) == (1, 1, 16)


def test_scores_of_two_pruners_on_one_context_are_apart():
    """What is remembered is each pruner's own, also after one of them is gone."""
    model = MODELS["qwen2_5_vl"]()
    (context,) = contexts_of(make("hawk"), model, build("qwen2_5_vl", [[Image(3, 4), 20, 21, 22]]))
    scores = [
        pruner("hawk", token_score_normalization=how).finite_scores(context)
        for how in ("l2", "none", "minmax")
    ]
    for how, found in zip(("l2", "none", "minmax"), scores, strict=True):
        fresh = pruner("hawk", token_score_normalization=how).scores(replace(context))
        assert torch.equal(found, fresh)
    assert not torch.equal(scores[0], scores[2])
