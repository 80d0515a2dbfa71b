"""The options that make a method choose as its published code does, against that code's own rules.

Each rule is written out literally, in loops, from caught inputs of the model's own modules; the method's
default is the negative control: it must choose otherwise.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import contexts_of
from test_algorithms import cosine, greedy, softmax
from tiny_prompts import Image, Video, build, left_padded, prompt_ids
from tiny_random import END, MODELS, NEWLINE, START

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.pruning import pruner
from hawk.pruning.prompt import prune
from hawk.steps.variants import needs_tower


def kept(given, model, inputs):
    return prune(given, model, family_of(model), inputs).last.kept_index[0].tolist()


def caught(model, module, inputs):
    """What enters ``module`` in a run of the whole model, a list of its calls."""
    calls = []
    handle = module.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(args[0] if args else next(iter(kwargs.values()))),
        with_kwargs=True,
    )
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    return calls


# --- MMTok ----------------------------------------------------------------------------------------

MERGING = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
ROW = [Image(3, 5), 20, 21, 22, 23]


def published_mmtok(model, inputs, words, count):
    """Its code for Qwen: text coverage of merged tokens, vision coverage of means of unmerged patches."""
    tower = model.model.visual
    (patches,) = caught(model, tower.merger, inputs)
    groups = patches.double().view(-1, 4, patches.shape[-1]).numpy()
    seen = np.array([group.sum(0) / 4 for group in groups])
    if hasattr(tower, "window_size"):  # the merger's tokens are put back in place after it
        from transformers.vision_utils import get_vision_window_index

        order, _ = get_vision_window_index(
            inputs["image_grid_thw"], spatial_merge_size=2, window_size=tower.window_size,
            patch_size=tower.patch_size,
        )  # fmt: skip
        placed = np.empty_like(seen)
        placed[order.numpy()] = seen
        seen = placed
    merged = family_of(model).encode(model, inputs)["image"][0].features.double().numpy()
    table = model.get_input_embeddings().weight.double().numpy()
    n, m = len(merged), len(words)
    text = [softmax(np.array([cosine(table[w], v) / 0.01 for v in merged])) / m for w in words]
    vision = [softmax(np.array([cosine(x, y) / 0.2 for y in seen])) / n for x in seen]

    def value(s):
        return sum(max(row[s]) for row in text) + 0.5 * sum(max(row[s]) for row in vision)

    return greedy(value, n, count)


AS_PUBLISHED = {"vision_features": "tower", "query_span": "all_turns", "text_temperature": 0.01}


@pytest.mark.parametrize("family", MERGING)
@torch.no_grad()
def test_mmtok(family):
    model = MODELS[family]()
    inputs = build(family, [ROW])
    expected = published_mmtok(model, inputs, [20, 21, 22, 23], 6)
    assert kept(pruner("mmtok", pruning_ratio=0.6, **AS_PUBLISHED), model, inputs) == expected
    projected = {**AS_PUBLISHED, "vision_features": "projected"}
    assert kept(pruner("mmtok", pruning_ratio=0.6, **projected), model, inputs) != expected


def test_the_words_of_all_user_turns():
    """Answers and template are no words; the image's own marks are none."""
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[20, Image(2, 2), 21, 22]])
    first = inputs["input_ids"][0].tolist()
    turns = [START, 60, NEWLINE, 61, END, *first, 30, 31, END, *prompt_ids([[24, 25]])]
    inputs.update(left_padded([turns]))
    inputs["mm_token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    given = pruner("mmtok", pruning_ratio=0.5, query_span="all_turns")
    (context,) = contexts_of(given, model, inputs)
    words = {span: context.ids[context.query_index(span)].tolist() for span in ("all_turns", "instruction")}
    assert words == {"all_turns": [20, 21, 22, 24, 25], "instruction": [24, 25]}


@torch.no_grad()
def test_patches_of_several_images_and_videos():
    """In prompt order, as the tokens themselves; a batch is as its rows alone."""
    model = MODELS["qwen2_5_vl"]()
    rows = [[Video(2, 2, 3), 20, 21], [20, 21], [Image(2, 3), 20, Image(3, 3), 22]]
    given = pruner("mmtok", pruning_ratio=0.5, vision_features="tower")
    together = prune(given, model, family_of(model), build("qwen2_5_vl", rows)).last.kept_index
    for number, row in enumerate(rows):
        inputs = build("qwen2_5_vl", [row], draws=[number])
        assert kept(given, model, inputs) == together[number].tolist()
    alone, among = (
        contexts_of(given, model, build("qwen2_5_vl", [row], draws=[2]))[0]
        for row in ([Image(2, 3), 20, 22], rows[2])
    )
    torch.testing.assert_close(alone.observed, among.observed[:6])
    assert among.observed.shape == (15, model.config.vision_config.hidden_size)


def test_what_needs_the_tower_is_refused_without_it():
    model = MODELS["llava"]()
    with pytest.raises(InputError, match="'tower' is only for towers with a merger.*not for 'llava'"):
        kept(pruner("mmtok", pruning_ratio=0.5, vision_features="tower"), model, build("llava", [ROW]))
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[Image(2, 2), 20]])
    handle = family_of(model)
    outputs = handle.encoder_outputs({"image": torch.randn(4, 64)}, {})
    stored = {key: value for key, value in inputs.items() if key != "pixel_values"}
    with pytest.raises(InputError, match="features: recomputed"):
        kept(
            pruner("mmtok", pruning_ratio=0.5, vision_features="tower"),
            model,
            {**stored, "mm_encoder_outputs": outputs},
        )
    assert needs_tower({"name": "m", "method": "mmtok", "vision_features": "tower"})
    assert not needs_tower({"name": "m", "method": "mmtok"})


@pytest.mark.parametrize("option", ["query_span", "vision_features"])
def test_other_values_are_refused(option):
    with pytest.raises(InputError, match=f"unknown {option} 'other'"):
        pruner("mmtok", **{option: "other"})
