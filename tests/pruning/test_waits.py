"""How often the CPU waits for a GPU while prompts are pruned: twice, whatever is in them.

On the simulated device of ``simulated_gpu.py``, and with CUDA's own count where there is a GPU.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from matrix import PRUNERS
from oracles import FAMILIES
from simulated_gpu import simulated
from tiny_prompts import Image, Video, build
from tiny_random import LAYERS, MODELS

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.models.base import by_modality, markers_of
from hawk.models.turns import remember_markers
from hawk.pruning import pruner
from hawk.pruning.base import Pruner
from hawk.pruning.prompt import prune

WAITS = 2  # ids, mask and grids; what was chosen and whether all numbers were finite
TEXT = [20, 21, 22]
PROMPTS: dict[str, list[list[Any]]] = {
    "one image": [[Image(2, 3), *TEXT]],
    "a long prompt": [[Image(3, 3), *TEXT * 20]],
    "four images": [[*[Image(2, 2)] * 4, *TEXT]],
    "rows": [[Image(2, 3), *TEXT], [20, Image(1, 2), 21, Image(2, 2)], TEXT, [Image(2, 2), *TEXT * 2]],
}
# FastV chooses while the model runs, and VisionZip reads the tower.
METHODS = [name for name, (method, _) in PRUNERS.items() if method not in ("fastv", "visionzip")]
BOTH = ["qwen2_5_vl", "internvl"]


@dataclass(frozen=True)
class OneByOne(Pruner):
    """Reads the score of every token by itself, as no method may."""

    def scores(self, context):
        return torch.tensor([norm.item() for norm in context.features.norm(dim=-1)])


@dataclass(frozen=True)
class Masked(Pruner):
    """Indexes by a mask that the device has made, of which the CPU must learn the length."""

    def scores(self, context):
        norms = context.features.norm(dim=-1)
        norms[norms > norms.mean()] = 0
        return norms


def inputs_on(device: str, family: str, rows: list[list[Any]]) -> tuple[Any, dict[str, Any]]:
    """A model, and stored features with all that belongs to them, on a device."""
    plain, inputs = MODELS[family](), build(family, rows)
    model = copy.deepcopy(plain).to(device)
    handle = family_of(model)
    remember_markers(model, markers_of(plain, handle))
    items = [item for found in handle.encode(plain, inputs).values() for item in found]
    features, levels = by_modality(item.to(torch.device(device)) for item in items)
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    given |= handle.stored_inputs(items)
    given = {name: value.to(device) for name, value in given.items()}
    return model, {**given, "mm_encoder_outputs": handle.encoder_outputs(features, levels)}


@torch.no_grad()
def waits(given: Pruner, family: str, rows: list[list[Any]]) -> list[str]:
    """Every wait of ``prune``: the operation, and where it is asked for."""
    with simulated() as found:
        model, inputs = inputs_on("cuda:0", family, rows)
        found.clear()
        prune(given, model, family_of(model), inputs)
        return list(found)


EACH = [("qwen2_5_vl", name) for name in METHODS]
EACH += [("internvl", name) for name in ("hawk", "divprune", "cdpruner", "mmtok", "random")]


@pytest.mark.parametrize(("family", "name"), EACH)
def test_as_few_for_every_prompt(family, name):
    method, options = PRUNERS[name]
    given = pruner(method, **options, pruning_ratio=0.6)
    for prompt, rows in PROMPTS.items():
        assert len(found := waits(given, family, rows)) == WAITS, (prompt, found)
    shared = pruner(method, **options, pruning_ratio=0.6, budget="per_image")
    assert len(found := waits(shared, family, PROMPTS["rows"])) == WAITS, found


OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in FAMILIES if name not in BOTH]


@pytest.mark.parametrize("policy", ["rebase", "repack"])
@pytest.mark.parametrize("family", [*BOTH, *OTHERS])
def test_every_family_and_position_policy(family, policy):
    given = pruner("hawk", pruning_ratio=0.6, position_policy=policy)
    for prompt, rows in PROMPTS.items():
        assert len(found := waits(given, family, rows)) == WAITS, (prompt, found)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_video_with_times(frames):
    """Its seconds per frame are no integers and come by themselves."""
    rows = [[Video(frames, 2, 2), *TEXT], [Image(2, 2), *TEXT]]
    found = waits(pruner("hawk", pruning_ratio=0.6), "qwen2_5_vl", rows)
    assert len(found) <= WAITS + 1, found


@pytest.mark.parametrize("bad", [OneByOne(pruning_ratio=0.6), Masked(pruning_ratio=0.6)], ids=repr)
def test_a_needless_wait_is_seen(bad):
    counts = {prompt: len(waits(bad, "qwen2_5_vl", rows)) for prompt, rows in PROMPTS.items()}
    tokens = {"one image": 6, "a long prompt": 9, "four images": 16, "rows": 6 + 2 + 4 + 4}
    more = tokens if isinstance(bad, OneByOne) else {**dict.fromkeys(tokens, 1), "rows": 3}
    assert counts == {prompt: WAITS + count for prompt, count in more.items()}


@pytest.mark.parametrize("name", ["divprune", "hawk", "mmtok", "random"])
def test_numbers_that_are_not_finite_are_refused(name):
    """Looked at with what was chosen, and before it: a NaN must not be told as another fault."""
    method, options = PRUNERS[name]
    with simulated():
        model, inputs = inputs_on("cuda:0", "qwen2_5_vl", PROMPTS["rows"])
        outputs = inputs["mm_encoder_outputs"]["image"].pooler_output
        outputs[7] = outputs[7] * torch.nan  # of the second row
        with pytest.raises(InputError, match="sample 1: its visual features hold NaN or infinity"):
            prune(pruner(method, **options, pruning_ratio=0.6), model, family_of(model), inputs)


@pytest.mark.parametrize("family", BOTH)
def test_visionzip_adds_at_most_one_wait_to_the_tower(family):
    """It reads where the images begin and end, once, however many there are."""
    given = pruner("visionzip", pruning_ratio=0.6)
    for prompt, rows in PROMPTS.items():
        with simulated() as found, torch.no_grad():
            model = copy.deepcopy(MODELS[family]()).to("cuda:0")
            handle = family_of(model)
            inputs = {name: value.to("cuda:0") for name, value in build(family, rows).items()}
            found.clear()
            handle.encode(model, inputs)
            tower = len(found)
            with given.watch(model, handle) as seen:
                handle.encode(model, inputs)
        assert seen, "the tower was watched"
        assert len(found) - 2 * tower <= 1, (prompt, found[2 * tower :])


@pytest.mark.parametrize("prompt", PROMPTS)
@torch.no_grad()
def test_fastv_waits_as_often_for_any_number_of_layers(prompt):
    """With padded rows as well, at whose mask transformers looks wherever one is made."""
    counts = []
    for layer in (1, LAYERS - 1):  # all layers but one get fewer tokens, or one
        with simulated() as found:
            model = copy.deepcopy(MODELS["qwen2_5_vl"]()).to("cuda:0")
            inputs = build("qwen2_5_vl", PROMPTS[prompt])
            inputs = {name: value.to("cuda:0") for name, value in inputs.items()}
            with pruner("fastv", pruning_ratio=0.6, layer=layer).attach(model):
                model.generate(**inputs, max_new_tokens=1, do_sample=False)
        counts.append(sum("fastv" in wait for wait in found))
    padded = 2 * (prompt == "rows")  # transformers' own, as without pruning
    assert counts[0] == counts[1] <= 5 - WAITS + padded


@dataclass(frozen=True)
class NotFinite(Pruner):
    def scores(self, context):
        return context.features.norm(dim=-1) / 0


@dataclass(frozen=True)
class Doubled(Pruner):
    def select(self, context, candidates, count):
        return candidates[:1].expand(count)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (NotFinite(pruning_ratio=0.6), InputError, "6 of 6 token scores are not finite"),
        (Doubled(pruning_ratio=0.6), AssertionError, "chose a token twice"),
    ],
    ids=["not finite", "doubled"],
)
def test_a_wrong_choice_is_refused(bad, error, words, device):
    with simulated():
        model, inputs = inputs_on(device, "qwen2_5_vl", PROMPTS["one image"])
        with pytest.raises(error, match=words):
            prune(bad, model, family_of(model), inputs)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_on_cuda(name):
    """CUDA's own count, which takes in copies to the device that are not declared asynchronous."""
    method, options = PRUNERS[name]
    given = pruner(method, **options, pruning_ratio=0.6)
    for rows in PROMPTS.values():
        model, inputs = inputs_on("cuda:0", "qwen2_5_vl", rows)
        prune(given, model, family_of(model), inputs)  # loads kernels
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                prune(given, model, family_of(model), inputs)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found = [f"{one.filename}:{one.lineno}" for one in seen if "synchronizing CUDA" in str(one.message)]
        assert len(found) <= 5, found
