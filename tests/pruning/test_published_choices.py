"""The options that make a method choose as its published code does, against that code's own rules.

Each rule is written out literally, in loops, from caught inputs of the model's own modules; the method's
default is the negative control: it must choose otherwise.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from oracles import contexts_of
from test_algorithms import cdpruner, cosine, determinantal, greedy, min_max, softmax
from tiny_prompts import Image, Video, build, left_padded, prompt_ids
from tiny_random import END, IMAGE, MODELS, NEWLINE, START

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.pruning import REGISTRY, pruner
from hawk.pruning.options import facts
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
    del inputs["mm_token_type_ids"]
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


# --- DART -----------------------------------------------------------------------------------------

AS_DART = {
    "image_pivots": 2, "text_pivots": 2, "layer": 2, "key_layer": 1,
    "text_span": "after_vision", "rope": True, "final_norm": True, "pivot_order": "set",
}  # fmt: skip

OF_CODE = {"key_layer", "text_span", "rope", "final_norm", "pivot_order"}


def published_dart(model, inputs, pivots, each):
    """Its code: keys from the cache of the layer before, states behind the last norm, pivots from a set."""
    out = model(**inputs, use_cache=True, output_hidden_states=True)
    keys = out.past_key_values.layers[1].keys[0].double().numpy()  # as cached: rotated, [heads, T, d]
    states = family_of(model).decoder(model).norm(out.hidden_states[2])[0].double().numpy()
    norm = np.abs(keys).sum((0, 2))
    shown = (inputs["input_ids"][0] == IMAGE).nonzero().flatten().tolist()
    behind = range(shown[-1] + 1, inputs["input_ids"].shape[1])
    largest = [sorted(part, key=lambda i: -norm[i])[:pivots] for part in (shown, behind)]
    chosen = set(largest[0] + largest[1])
    left = [i for i in shown if i not in chosen]
    for pivot in list(chosen):
        nearest_last = sorted(left, key=lambda i: cosine(states[pivot], states[i]))[:each]
        chosen |= set(nearest_last)
        left = [i for i in left if i not in nearest_last]
    return sorted(shown.index(i) for i in chosen if i in shown)


ROWS_OF_30 = ([24, 25, 26, Image(5, 6), 20, 21, 22], [24, Image(2, 5), 27, Image(4, 5)])


@torch.no_grad()
def test_dart():
    """Text on both sides, and images last; each option by itself changes the choice in one of the cases."""
    changes = set()
    for family in ("qwen2_vl", "qwen2_5_vl"):
        model = MODELS[family].__wrapped__(seed=3)
        last_norm = family_of(model).decoder(model).norm.weight
        last_norm.copy_(torch.randn(last_norm.shape, generator=torch.Generator().manual_seed(0)))
        for row in ROWS_OF_30:
            inputs = build(family, [row])
            expected = published_dart(model, inputs, pivots=2, each=2)
            assert len(expected) == 10  # of 30: 2 pivots, and 2 tokens for each of 4
            given = {"pruning_ratio": "0.6667", "rounding": "round"}
            assert kept(pruner("dart", **given, **AS_DART), model, inputs) == expected
            for option in OF_CODE:
                without = {key: value for key, value in AS_DART.items() if key != option}
                if kept(pruner("dart", **given, **without), model, inputs) != expected:
                    changes.add(option)
    assert changes == OF_CODE


def test_the_page_of_deviations_names_real_options():
    """Its example is what the tests above compare, and every option that it names exists."""
    text = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    example = yaml.safe_load(text.split("```yaml")[1].split("```")[0])["evaluation"]["variants"]
    found = {one.pop("name"): {k: v for k, v in one.items() if k != "method"} for one in example}
    assert found["mmtok-code"] == AS_PUBLISHED
    assert found["dart-code"] == AS_DART | {"image_pivots": 4, "text_pivots": 4}
    known = {option for method in REGISTRY for option in facts(method).options}
    cells = [line.split("|")[-2] for line in text.splitlines() if line.startswith("| ")]
    named = {word.split(":")[0] for cell in cells for word in re.findall(r"`([^`]+)`", cell)}
    assert named - {"evaluation"} <= known
    assert len(named) > 12


@pytest.mark.parametrize("option", ["text_span", "pivot_order"])
def test_other_values_of_dart_are_refused(option):
    with pytest.raises(InputError, match=f"unknown {option} 'other'"):
        pruner("dart", **{option: "other"})
    with pytest.raises(InputError, match="key_layer 3 is outside the model's 0-2"):
        kept(
            pruner("dart", pruning_ratio=0.5, key_layer=3),
            MODELS["qwen2_vl"](),
            build("qwen2_vl", [[Image(2, 2), 20]]),
        )


# --- LLaVA-1.5 -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_visionzip_of_llava():
    """Its dominant tokens: what the class token attends to in the last layer but one, over all heads."""
    model = MODELS["llava"]("eager")
    inputs = build("llava", [[20, Image(1, 1), 21, Image(1, 1), 22]])
    tower, _ = family_of(model).vision_modules(model)
    tower.set_attn_implementation("eager")
    attention = tower(inputs["pixel_values"], output_attentions=True).attentions
    expected = {}
    for layer in (-1, -2):
        rows = attention[layer][:, :, 0, 1:].double().sum(1).tolist()
        best = [sorted(range(16), key=lambda i, row=row: -row[i])[:5] for row in rows]
        expected[layer] = [16 * n + i for n, found in enumerate(best) for i in sorted(found)]
    assert expected[-1] != expected[-2]
    given = {"pruning_ratio": "0.6875", "budget": "per_image"}
    assert kept(pruner("visionzip", **given), model, inputs) == expected[-2]
    assert kept(pruner("visionzip", layer=-1, **given), model, inputs) == expected[-1]


@torch.no_grad()
def test_fastv_of_llava():
    """K = 2: what the prompt's last token attends to in the second layer, over all heads."""
    model = MODELS["llava"]("eager")
    inputs = build("llava", [[Image(1, 1), 20, 21, 22]])
    attention = model(**inputs, output_attentions=True).attentions
    shown = (inputs["input_ids"][0] == IMAGE).nonzero().flatten()
    expected = []
    for layer in (1, 0):
        row = attention[layer][0, :, -1].double().mean(0)[shown].tolist()
        expected.append(sorted(sorted(range(16), key=lambda i, row=row: -row[i])[:5]))
    assert expected[0] != expected[1]
    found = []
    for options in ({}, {"layer": 1}):
        given = pruner("fastv", pruning_ratio="0.6875", **options)
        with given.attach(model):
            model.generate(**inputs, max_new_tokens=1)
        found.append(given.last.kept_index[0].tolist())
    assert found == expected


# --- a budget for every tile ------------------------------------------------------------------------

TILED = [20, Image(1, 2), 21, Image(2, 2), 22]  # InternVL: 2 and 4 tiles and a thumbnail each, of 16 tokens


def tiles_of(context):
    """Sixteen tokens each, counted off."""
    return [list(range(begin, begin + 16)) for begin in range(0, context.tokens, 16)]


@torch.no_grad()
def test_visionzip_per_tile():
    model, inputs = MODELS["internvl"](), build("internvl", [TILED])
    given = pruner("visionzip", pruning_ratio=0.75, budget="per_tile")
    (context,) = contexts_of(given, model, inputs)
    scores = context.observed.tolist()
    expected = [i for tile in tiles_of(context) for i in sorted(sorted(tile, key=lambda i: -scores[i])[:4])]
    assert kept(given, model, inputs) == expected
    assert len(expected) == 4 * len(tiles_of(context)) > 8
    for budget in ("pooled", "per_image"):
        other = kept(pruner("visionzip", pruning_ratio=0.75, budget=budget), model, inputs)
        assert other != expected
        assert len(other) == len(expected)


@torch.no_grad()
def test_cdpruner_per_tile():
    """Relevance over all crops, a process of its own for each, as the official LLaVA-NeXT code has it."""
    model, inputs = MODELS["internvl"](), build("internvl", [TILED])
    given = pruner("cdpruner", pruning_ratio=0.75, budget="per_tile")
    (context,) = contexts_of(given, model, inputs)
    v = context.features.double().numpy()
    text = context.query_embeddings().double().numpy().mean(0)
    relevance = min_max([cosine(x, text) for x in v], 1e-6)
    expected = []
    for tile in tiles_of(context):
        expected += [tile[i] for i in determinantal(v[tile], relevance[tile], 4)]
    assert kept(given, model, inputs) == expected
    alone = [tile[i] for tile in tiles_of(context) for i in cdpruner(v[tile], text[None], 4, 1)]
    assert alone != expected  # a range of every tile's own is another choice


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision"])
def test_joined_tiles_have_no_budget_each(family):
    given = pruner("random", pruning_ratio=0.5, budget="per_tile")
    with pytest.raises(InputError, match=f"{family}.*joins the tiles of an image.*use per_image"):
        kept(given, MODELS[family](), build(family, [[Image(2, 3), 20]]))


@pytest.mark.parametrize("family", ["qwen2_vl", "llava", "idefics3"])
def test_an_image_of_one_tile_is_its_own(family):
    inputs = build(family, [[20, Image(1, 1), 21, Image(1, 1)]])
    tile, image = (
        kept(pruner("divprune", pruning_ratio=0.5, budget=budget), MODELS[family](), inputs)
        for budget in ("per_tile", "per_image")
    )
    assert tile == image
