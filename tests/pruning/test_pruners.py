"""What holds for every pruner on every family, whatever it looks at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from matrix import PRUNERS
from oracles import CASES, FAMILIES
from tiny_prompts import Image, Video, build
from tiny_random import MODELS
from torch import Tensor

import hawk
from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.pruning import REGISTRY, pruner, pruner_class
from hawk.pruning.base import Pruner
from hawk.pruning.budget import ROUNDING
from hawk.pruning.context import LastRun
from hawk.pruning.prompt import prune

EVERY = [(name, family) for name in PRUNERS for family in FAMILIES]
every = pytest.mark.parametrize(("name", "family"), EVERY)
# A change of features is the same for every family: one will do.
EMBEDDED = [name for name in PRUNERS if name != "visionzip"]


def make(name: str, **options: Any) -> Pruner:
    method, own = PRUNERS[name]
    return pruner(method, **{**own, **options})


@torch.no_grad()
def run(given: Pruner, family: str, inputs: dict[str, Any], **more: Any) -> LastRun:
    """Prune a batch and let the model read it: FastV chooses only then."""
    model = MODELS[family]()
    prompt = prune(given, model, family_of(model), inputs, **more)
    if given.inside_model:
        with given.hooks(model, family_of(model), prompt):
            model(**prompt.kwargs(), logits_to_keep=1)
    return prompt.last


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@every
def test_exact_sorted_reproducible_and_the_same_alone(name, family):
    """Image(1, 1) is one visual token (Qwen); one row has no image; one has several."""
    rows = [*CASES["mixed"], [Image(1, 1), 22, 23]]
    inputs = build(family, rows)
    ratio = "0.6"
    last = run(make(name, pruning_ratio=ratio), family, inputs)
    for kept, tokens, index in zip(last.kept_tokens, last.visual_tokens, last.kept_index, strict=True):
        # tokens x 0.4, rounded up: the central rule, written again
        assert kept == len(index) == -(-tokens * 4 // 10)
        assert index.tolist() == sorted(set(index.tolist()))
        assert not len(index) or 0 <= int(index[0]) <= int(index[-1]) < tokens
    assert last.visual_tokens[1] == 0

    again = run(make(name, pruning_ratio=ratio), family, inputs)
    assert equal(last.kept_index, again.kept_index)
    keys = [str(i) for i in range(len(rows))]
    batch = run(make(name, pruning_ratio=ratio), family, inputs, keys=keys).kept_index
    for row in range(len(rows)):
        single = build(family, rows[row : row + 1], draws=[row])
        alone = run(make(name, pruning_ratio=ratio), family, single, keys=keys[row : row + 1])
        assert torch.equal(alone.kept_index[0], batch[row])


@pytest.mark.parametrize("budget", ["pooled", "per_image"])
@pytest.mark.parametrize("rounding", ROUNDING)
@pytest.mark.parametrize("name", PRUNERS)
def test_one_budget_for_all(name, rounding, budget):
    """Every ratio, rounding and budget gives every pruner the count that random gets."""
    inputs = build("qwen2_5_vl", CASES["mixed"])
    for ratio in ("0.3", "0.8025", "0.9"):
        options = {"pruning_ratio": ratio, "rounding": rounding, "budget": budget}
        last = run(make(name, **options), "qwen2_5_vl", inputs)
        reference = run(make("random", **options), "qwen2_5_vl", inputs)
        assert last.kept_tokens == reference.kept_tokens


@every
def test_ratio_0_keeps_everything(name, family):
    inputs = build(family, CASES["several"])
    last = run(make(name, pruning_ratio=0), family, inputs)
    assert last.kept_index[0].tolist() == [*range(last.visual_tokens[0])]


def stored(features: Tensor) -> dict[str, Any]:
    """A prompt of one image whose features are given, [rows x columns of 4, hidden]."""
    inputs = build("qwen2_5_vl", [[Image(len(features) // 4, 4), 20, 21, 22]])
    del inputs["pixel_values"]
    family = family_of(MODELS["qwen2_5_vl"]())
    outputs = family.encoder_outputs({"image": features}, {"image": ()})
    return {**inputs, "mm_encoder_outputs": outputs}


@pytest.mark.parametrize("kind", ["equal", "duplicates", "zero"])
@pytest.mark.parametrize("name", EMBEDDED)
def test_degenerate_features(name, kind):
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(3, 64, generator=generator)
    features = {
        "equal": few[:1].repeat(24, 1),
        "duplicates": few[torch.arange(24) % 3],
        "zero": torch.zeros(24, 64),
    }[kind]
    last = run(make(name, pruning_ratio=0.5), "qwen2_5_vl", stored(features))
    assert last.kept_tokens == [12]
    assert len(set(last.kept_index[0].tolist())) == 12
    if name in ("divprune", "cdpruner", "mmtok", "facility") and kind == "duplicates":
        assert set((last.kept_index[0] % 3).tolist()) == {0, 1, 2}  # each distinct one is there


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", EMBEDDED)
def test_not_finite_features_are_refused(name, bad):
    features = torch.randn(24, 64, generator=torch.Generator().manual_seed(0))
    features[5, 7] = bad
    with pytest.raises(InputError, match="NaN or infinity"):
        run(make(name, pruning_ratio=0.5), "qwen2_5_vl", stored(features))


def test_visionzip_needs_the_tower():
    with pytest.raises(InputError, match="features: recomputed"):
        run(make("visionzip", pruning_ratio=0.5), "qwen2_5_vl", stored(torch.randn(24, 64)))


@pytest.mark.parametrize(("layer", "refused"), [(2, True), (-3, True), (1, False), (-2, False)])
def test_a_layer_that_the_tower_has_not(layer, refused):
    inputs, given = build("llava", [[Image(1, 1), 20]]), make("visionzip", pruning_ratio=0.5, layer=layer)
    if not refused:
        assert run(given, "llava", inputs).kept_tokens == [8]
        return
    with pytest.raises(InputError, match=f"layer {layer} is outside the vision tower's -2 to 1"):
        run(given, "llava", inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_visionzip_scores_are_the_eager_attention(family):
    """Attention that the tower itself returns in eager mode, mapped to tokens by hand."""
    model = MODELS[family]("eager")
    handle = family_of(model)
    inputs = build(family, [[Image(2, 3), 20, 21]])
    given = make("visionzip", pruning_ratio=0.5, layer=0)
    before = handle.encode(model, inputs)["image"][0].features
    with given.watch(model, handle) as seen:
        after = handle.encode(model, inputs)["image"][0].features
    seen = handle.place_observed(model, inputs, seen)
    assert torch.equal(before, after)
    rows = eager_attention(model, family, inputs)
    torch.testing.assert_close(seen[0], rows, rtol=1e-4, atol=1e-5)


def eager_attention(model: torch.nn.Module, family: str, inputs: dict[str, Any]) -> Tensor:
    probabilities = []
    attention = torch.nn.functional.softmax

    def softmax(*args, **kwargs):  # eager attention's own call, in the tower
        probabilities.append(attention(*args, **kwargs))
        return probabilities[-1]

    tower, _ = family_of(model).vision_modules(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "softmax", softmax)
        if family == "internvl" or family == "llava":
            tower(inputs["pixel_values"])
        elif family in ("llava_next", "llava_onevision"):
            tower(inputs["pixel_values"][0, :7])  # the base view and 2 x 3 tiles; the rest is padding
        elif family in ("idefics3", "smolvlm"):
            tower(pixel_values=inputs["pixel_values"][0])
        else:
            tower(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    if family == "internvl":
        (first,) = probabilities  # [tiles, heads, 65, 65]
        patches = first[:, :, 0, 1:].mean(1).view(-1, 4, 2, 4, 2)  # 8 x 8 patches, merged 2 x 2
        return 64 * patches.mean((2, 4)).flatten()
    if family in ("idefics3", "smolvlm"):
        (first,) = probabilities  # [tiles, heads, 16, 16]; 4 x 4 patches, merged 2 x 2
        return first.mean(1).sum(1).view(-1, 2, 2, 2, 2).mean((2, 4)).flatten()
    if family == "llava":
        return 16 * probabilities[0][0, :, 0, 1:].mean(0)  # [images, heads, 17, 17]
    if family in ("llava_next", "llava_onevision"):
        if family == "llava_next":  # two layers of [7, heads, 17, 17]: what the class token attends to
            views = 16 * probabilities[0][:, :, 0, 1:].mean(1)
        else:
            (first,) = probabilities  # [7, heads, 16, 16]
            views = first.mean(1).sum(1)  # received by the 4 x 4 patches of every view
        rows = []
        for row in range(8):
            for column in range(12):
                tile = 1 + 3 * (row // 4) + column // 4
                rows.append(views[tile, 4 * (row % 4) + column % 4])
            rows.append(torch.zeros(()))  # the newline
        return torch.cat([views[0], torch.stack(rows)])
    received = []
    depth = len(tower.blocks)
    for window in probabilities[: len(probabilities) // depth]:
        received.append(window[0].mean(0).sum(0))
    flat = torch.cat(received).view(-1, 4).mean(1)
    if family != "qwen2_5_vl":
        return flat
    # Windows of 4 x 4 patches hold 2 x 2 tokens of the image's 2 x 3: columns 0-1, then column 2.
    return flat if len(received) == 1 else flat[[0, 1, 4, 2, 3, 5]]


def test_visionzip_on_llava_frames_and_several_images():
    """Frames are pooled 2 x 2 as their features are; of several images each is one view."""
    model = MODELS["llava_onevision"]("eager")
    handle = family_of(model)
    inputs = build("llava_onevision", [[Video(3), 20], [Image(1, 1), Image(1, 2), 21]])
    with make("visionzip", pruning_ratio=0.5).watch(model, handle) as seen:
        items = handle.encode(model, inputs)
    images, video = handle.place_observed(model, inputs, seen)
    assert len(video) == items["video"][0].tokens
    assert len(images) == sum(item.tokens for item in items["image"])
    assert images[[16, 33]].tolist() == [0, 0]
    assert video[-1] == 0
    frames = seen[1].view(3, 2, 2, 2, 2).mean((2, 4)).flatten()  # bilinear at half the side: the mean
    torch.testing.assert_close(video[:-1], frames)
    torch.testing.assert_close(images[17:33], seen[0][1])


def test_scorers():
    config = {"method": "hawk", "text_reduction": "max"}
    inside = pruner("mmr", scorer=config, trade_off=0.3, pruning_ratio=0.5).scorer
    assert isinstance(inside, hawk.Hawk)
    assert inside.text_reduction == "max"
    assert pruner("mmr", scorer=config).uses_query
    assert not pruner("facility_location").uses_query
    for bad in (None, {"method": "divprune"}, {"method": "fastv"}, {"weights": None}):
        with pytest.raises(InputError, match="scorer"):
            pruner("mmr", scorer=bad)
    with pytest.raises(InputError, match="trade_off"):
        pruner("mmr", scorer=config, trade_off=2)


def test_another_samples_question_changes_the_choice_of_those_who_read_it():
    rows = [[Image(4, 5), 20, 21, 22]]
    inputs = build("qwen2_5_vl", rows)
    other = [torch.tensor([50, 60, 70, 80])]
    for name in PRUNERS:
        if name.startswith("fastv"):
            continue  # reads the prompt inside the model: no other question can be put there
        given = make(name, pruning_ratio=0.7)
        own = run(given, "qwen2_5_vl", inputs).kept_index[0]
        swapped = run(given, "qwen2_5_vl", inputs, queries=other).kept_index[0]
        assert torch.equal(own, swapped) != given.uses_query, name


def test_registry_and_public_names():
    from dataclasses import is_dataclass

    for method in REGISTRY:
        cls = pruner_class(method)
        assert is_dataclass(cls)
        assert getattr(hawk, cls.__name__) is cls
        assert method in {"blind", "downscale", "oracle", *(used for used, _ in PRUNERS.values())}
    with pytest.raises(InputError, match="Did you mean 'layer'"):
        pruner("fastv", layr=3)


def test_keep_first_keeps_the_prompts_first_token_and_draws_the_others():
    """With several images as well, where the budget is per image: of the first one alone."""
    vlm = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", CASES["several"])
    kept = {}
    for budget in ("pooled", "per_image"):
        for seed in range(6):
            given = pruner("keep_first", pruning_ratio=0.8, budget=budget, seed=seed)
            last = prune(given, vlm, family_of(vlm), inputs).last
            kept[budget, seed] = [index.tolist() for index in last.kept_index]
            assert all(0 in index for index in kept[budget, seed])
        assert len({str(kept[budget, seed]) for seed in range(6)}) > 1
    random = prune(pruner("random", pruning_ratio=0.8, seed=1), vlm, family_of(vlm), inputs).last
    assert not all(0 in index.tolist() for index in random.kept_index)
