"""What happened in a call is returned, told by the pruner after ``attach``, and keeps nothing alive."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import fields

import pytest
import torch
from matrix import PRUNERS
from oracles import CASES, generate, pruned
from tiny_prompts import build
from tiny_random import MODELS

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.models.base import markers_of
from hawk.models.turns import remember_markers
from hawk.pruning import pruner
from hawk.pruning.context import LastRun
from hawk.pruning.methods.fastv import FastV
from hawk.pruning.methods.random import Random
from hawk.pruning.prompt import prune

FAMILY = "qwen2_5_vl"
EMPTY = LastRun()


@pytest.fixture
def model():
    return MODELS[FAMILY]()


@pytest.fixture
def inputs():
    return build(FAMILY, CASES["mixed"])


def index(last):
    return [one.tolist() for one in last.kept_index]


@pytest.mark.parametrize("name", PRUNERS)
def test_attach_tells_what_prune_returns(name, model, inputs):
    method, options = PRUNERS[name]
    given = pruner(method, **options, pruning_ratio=0.6)
    before = dict(given.__dict__)
    assert given.last == EMPTY
    prompt = prune(given, model, family_of(model), inputs)
    assert given.last == EMPTY  # a prompt's pruning is told by the prompt
    if given.inside_model:
        entered = index(prompt.last)
        with given.hooks(model, family_of(model), prompt):
            model(**prompt.kwargs(), logits_to_keep=1)
        assert index(prompt.last) != entered
    pruned(model, given, inputs)
    assert index(given.last) == index(prompt.last)
    assert given.last.kept_tokens == [len(one) for one in prompt.last.kept_index]
    assert given.last.visual_tokens == prompt.last.visual_tokens == [6, 0, 6, 8]
    assert given.__dict__ == before  # a frozen dataclass
    assert {f.name for f in fields(given)} == {f.name for f in fields(type(given)) if f.init}


def test_equal_pruners_have_their_own(model, inputs):
    one, same = Random(pruning_ratio=0.6), Random(pruning_ratio=0.6)
    pruned(model, one, inputs)
    assert one == same
    assert one.last.kept_tokens == [3, 0, 3, 4]
    assert same.last == EMPTY
    assert copy.deepcopy(one).last == EMPTY


@pytest.mark.parametrize("given", [Random(pruning_ratio=0.6), FastV(pruning_ratio=0.6, layer=1)], ids=repr)
def test_no_call_is_told_of_by_an_older_one(given, model, inputs):
    def after(**call):
        """``last`` behind a pruned call and then this one."""
        pruned(model, given, inputs)
        assert given.last.kept_tokens == [3, 0, 3, 4]
        with given.attach(model):
            try:
                model.generate(**{"max_new_tokens": 2, "do_sample": False, **call})
            except InputError as error:
                return given.last, str(error)
        return given.last, ""

    text = build(FAMILY, [[20, 21]])
    last, _ = after(**text)
    assert (last.visual_tokens, last.kept_tokens, index(last)) == ([0], [0], [[]])

    embeds = model.get_input_embeddings()(text["input_ids"])
    last, said = after(inputs_embeds=embeds, attention_mask=text["attention_mask"])
    assert last == EMPTY
    assert "inputs_embeds" in said

    # Only new tokens, without a placeholder: they would get positions of a prompt that is not theirs.
    cache = generate(model, **inputs).past_key_values
    more = torch.full((4, 1), 30)
    mask = torch.ones(4, cache.get_seq_length() + 1, dtype=torch.long)
    last, said = after(input_ids=more, attention_mask=mask, past_key_values=cache)
    assert last == EMPTY
    assert "past_key_values" in said

    wrong = {**inputs, "attention_mask": inputs["attention_mask"].flip(1)}
    last, said = after(**wrong)
    assert last == EMPTY
    assert "left padding" in said


def test_at_ratio_0_everything_passes_and_is_told(model, inputs):
    given = Random(pruning_ratio=0)
    pruned(model, given, inputs)
    assert given.last.kept_tokens == given.last.visual_tokens == [6, 0, 6, 8]
    embeds = model.get_input_embeddings()(build(FAMILY, [[20, 21]])["input_ids"])
    with given.attach(model):
        model.generate(inputs_embeds=embeds, max_new_tokens=1)
    assert given.last == EMPTY


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("given", [Random(pruning_ratio=0.6), FastV(pruning_ratio=0.6, layer=1)], ids=repr)
def test_a_call_that_dies_is_not_told_by_the_one_before(given, model, inputs):
    pruned(model, given, build(FAMILY, CASES["one"]))

    class Streamer:
        def put(self, value):
            raise Interrupted

        def end(self):
            pass

    with given.attach(model), pytest.raises(Interrupted):
        model.generate(**inputs, max_new_tokens=2, do_sample=False, streamer=Streamer())
    assert given.last.kept_tokens in ([], [3, 0, 3, 4])


ALIVE = ("fastv", "visionzip", "dart", "hawk", "cdpruner", "mmr-hawk")


@pytest.mark.parametrize("name", ALIVE)
def test_a_model_goes_when_its_owner_lets_go(name, inputs):
    """While the pruner lives on, attached before and pruned with directly."""
    owner = copy.deepcopy(MODELS[FAMILY]())
    remember_markers(owner, markers_of(MODELS[FAMILY](), family_of(owner)))
    method, options = PRUNERS[name]
    given = pruner(method, **options, pruning_ratio=0.6)
    pruned(owner, given, inputs)
    prompt = prune(given, owner, family_of(owner), inputs)
    seen = weakref.ref(owner)
    del owner
    gc.collect()
    assert seen() is None
    assert given.last.kept_tokens == [3, 0, 3, 4]
    assert prompt.last.visual_tokens == [6, 0, 6, 8]


def test_the_record_goes_with_its_pruner(model, inputs):
    from hawk.pruning.attach import _LAST

    given = Random(pruning_ratio=0.6)
    pruned(model, given, inputs)
    key = id(given)
    assert key in _LAST
    del given
    gc.collect()
    assert key not in _LAST
