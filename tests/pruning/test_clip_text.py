"""CDPruner with CLIP's text tower, as published for LLaVA-1.5, against the published algorithm in loops.

The oracle runs the whole CLIP checkpoint, its own vision tower included, apart from the model that is pruned.
"""

from __future__ import annotations

import copy
import re
import string

import numpy as np
import pytest
import torch
from test_algorithms import cosine, determinantal, min_max
from tiny_prompts import Image, build
from tiny_random import CLIP, END, IMAGE, MODELS, NEWLINE, START, USER, enlarge
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from hawk.benchmarks.rules.protocols import SINGLE_WORD
from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.models.turns import Markers, remember_markers
from hawk.pruning import pruner
from hawk.pruning.prompt import prune
from hawk.steps.variants import needs_tower

LENGTH = 12  # tokens that the text tower reads at once
WORDS = {20: "what", 21: "is", 22: "left", 23: "of", 24: "blue", 25: "cat", 26: SINGLE_WORD}


class Tokenizer:
    """Of the language model: one word per token."""

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return " ".join(WORDS[token] for token in ids)


def words_of_clip() -> CLIPTokenizer:
    """Letters, alone or at a word's end, and no merges."""
    letters = [*string.ascii_lowercase, *string.punctuation]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])


def checkpoint(folder, vision=CLIP, seed=5):
    """A random CLIP with both towers."""
    tokenizer = words_of_clip()
    text = {
        "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": LENGTH, "vocab_size": len(tokenizer), "projection_dim": 20,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    torch.manual_seed(seed)
    clip = enlarge(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)), seed)
    clip.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """(folder, the whole CLIP, a LLaVA with its vision tower)."""
    folder = tmp_path_factory.mktemp("clip")
    whole = checkpoint(folder)
    model = copy.deepcopy(MODELS["llava"]())
    model.model.vision_tower.load_state_dict(whole.vision_model.state_dict())
    remember_markers(model, Markers((START, USER), (END,), newline=NEWLINE), Tokenizer())
    return str(folder), whole, model


def published_relevance(whole, pixels, text, sign):
    """As the published encoder computes it: pieces of the text, minus the cosine, one range over all."""
    with torch.no_grad():
        hidden = whole.vision_model(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        patches = whole.visual_projection(whole.vision_model.post_layernorm(hidden)).flatten(0, 1)
        ids = words_of_clip()(text)["input_ids"]
        pieces = []
        for begin in range(0, len(ids), LENGTH):
            piece = ids[begin : begin + LENGTH]
            empty = LENGTH - len(piece)
            found = whole.get_text_features(
                input_ids=torch.tensor([piece + [0] * empty]),
                attention_mask=torch.tensor([[1] * len(piece) + [0] * empty]),
            )
            pieces.append(found.pooler_output[0].double().numpy())
    values = [
        np.mean([sign * cosine(patch, piece) for piece in pieces]) for patch in patches.double().numpy()
    ]
    return min_max(values, 1e-6)


def published(whole, model, inputs, text, count, sign=-1):
    features = torch.cat([item.features for item in family_of(model).encode(model, inputs)["image"]])
    relevance = published_relevance(whole, inputs["pixel_values"], text, sign)
    return determinantal(features.double().numpy(), relevance, count)


def kept(model, inputs, **options):
    given = pruner("cdpruner", **options)
    return [index.tolist() for index in prune(given, model, family_of(model), inputs).last.kept_index]


QUESTIONS = {"short": ([25], "cat"), "pieces": ([20, 21, 22, 23, 24, 25], "what is left of blue cat")}


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("ratio", ["0.5", "0.75"])
def test_it_chooses_as_published(clip, images, question, ratio):
    folder, whole, model = clip
    ids, text = QUESTIONS[question]
    assert (len(words_of_clip()(text)["input_ids"]) > LENGTH) == (question == "pieces")
    inputs = build("llava", [[*[Image(4, 4)] * images, *ids]])
    options = {"clip": folder, "relevance_sign": -1, "pruning_ratio": ratio}
    count = pruner("cdpruner", **options).count(16 * images)
    wanted = published(whole, model, inputs, text, count)
    assert kept(model, inputs, **options) == [wanted]
    # The controls choose otherwise: the other sign, the language model's own words.
    assert kept(model, inputs, **options | {"relevance_sign": 1}) != [wanted]
    assert kept(model, inputs, **options | {"clip": None}) != [wanted]


def test_the_question_decides(clip):
    folder, _, model = clip
    rows = [build("llava", [[Image(4, 4), Image(4, 4), *ids]]) for ids in ([25], [20], [23, 21], [22, 24])]
    assert all(torch.equal(row["pixel_values"], rows[0]["pixel_values"]) for row in rows)
    chosen = [kept(model, row, clip=folder, relevance_sign=-1, pruning_ratio="0.5")[0] for row in rows]
    assert len(set(map(tuple, chosen))) > 1


def test_rows_of_a_batch_are_each_asked_their_own_question(clip):
    folder, _, model = clip
    rows = [[Image(4, 4), 25], [Image(4, 4), Image(4, 4), 20, 21, 24], [20, 21]]
    options = {"clip": folder, "relevance_sign": -1, "pruning_ratio": "0.75"}
    got = kept(model, build("llava", rows), **options)
    alone = [kept(model, build("llava", [row], [i]), **options)[0] for i, row in enumerate(rows[:2])]
    assert got == [*alone, []]


def test_every_piece_of_a_long_question_counts(clip):
    _, whole, _ = clip
    pixels = build("llava", [[Image(4, 4), 25]])["pixel_values"]
    _, text = QUESTIONS["pieces"]
    both, first = (published_relevance(whole, pixels, one, -1) for one in (text, text[:8]))
    assert np.abs(np.array(both) - np.array(first)).max() > 0.05


def test_the_request_for_a_short_answer_is_not_asked(clip):
    folder, _, model = clip
    options = {"clip": folder, "relevance_sign": -1, "pruning_ratio": "0.75"}
    plain, asked, before = ([Image(4, 4), *ids] for ids in ([24, 25], [24, 25, 26], [26, 24, 25]))
    wanted = kept(model, build("llava", [plain]), **options)
    assert kept(model, build("llava", [asked]), **options) == wanted
    assert kept(model, build("llava", [before]), **options) != wanted  # the control: it stands elsewhere


def test_another_samples_question_is_asked_instead(clip):
    folder, whole, model = clip
    given = pruner("cdpruner", clip=folder, relevance_sign=-1, pruning_ratio="0.75")
    inputs = build("llava", [[Image(4, 4), 25]])
    got = prune(given, model, family_of(model), inputs, queries=[torch.tensor([20, 21, 23])])
    assert got.last.kept_index[0].tolist() == published(whole, model, inputs, "what is of", 4)
    assert got.last.kept_index[0].tolist() != published(whole, model, inputs, "cat", 4)


def test_only_with_clip_does_it_need_the_tower(clip):
    assert needs_tower({"method": "cdpruner", "clip": clip[0]})
    assert not needs_tower({"method": "cdpruner", "clip": None})
    assert not needs_tower({"method": "cdpruner"})


# --- refused ------------------------------------------------------------------------------------------


def refused(model, options, message):
    given = pruner("cdpruner", pruning_ratio="0.5", **options)
    inputs = build("llava", [[Image(4, 4), 25]])
    with pytest.raises(InputError, match=re.escape(message)) as caught, given.attach(model):
        prune(given, model, family_of(model), inputs)
    assert "\n" not in str(caught.value)


def test_a_clip_of_another_tower_is_refused(clip, tmp_path):
    checkpoint(tmp_path / "other", seed=6)
    refused(clip[2], {"clip": str(tmp_path / "other")}, "vision tower, at least 0.9 is allowed")
    checkpoint(tmp_path / "larger", vision={**CLIP, "image_size": 32})
    refused(clip[2], {"clip": str(tmp_path / "larger")}, "image_size 32, the model's has 16")


def test_a_tower_that_was_trained_on_is_the_same_tower(clip):
    folder, _, model = clip
    trained = copy.deepcopy(model)
    remember_markers(trained, Markers((START, USER), (END,), newline=NEWLINE), Tokenizer())
    filters = trained.model.vision_tower.embeddings.patch_embedding.weight
    filters += 0.05 * filters.std() * torch.randn(filters.shape, generator=torch.Generator().manual_seed(0))
    assert kept(trained, build("llava", [[Image(4, 4), 25]]), clip=folder, pruning_ratio="0.5")


def test_what_is_no_clip_is_refused(clip, tmp_path):
    _, whole, model = clip
    refused(model, {"clip": str(tmp_path / "none")}, "no such model folder")
    whole.vision_model.save_pretrained(tmp_path / "vision")
    refused(model, {"clip": str(tmp_path / "vision")}, "is a 'clip_vision_model' model")
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith("text_projection")}
    whole.save_pretrained(tmp_path / "cut", state_dict=state)
    words_of_clip().save_pretrained(tmp_path / "cut")
    refused(model, {"clip": str(tmp_path / "cut")}, "the checkpoint lacks text_projection.weight")


@pytest.mark.parametrize("family", ["llava_next", "qwen2_5_vl", "internvl", "llava_onevision"])
def test_other_families_have_no_such_tower(clip, family):
    given = pruner("cdpruner", clip=clip[0], pruning_ratio="0.5")
    with pytest.raises(InputError, match=f"not for '{family}'"), given.attach(MODELS[family]()):
        pass


def test_a_model_whose_tokenizer_is_not_known_is_refused(clip):
    folder, _, model = clip
    other = copy.deepcopy(model)
    remember_markers(other, Markers((START, USER), (END,), newline=NEWLINE))
    refused(other, {"clip": folder}, "load the model with hawk.load, or pass the processor to attach")


def test_stored_features_do_not_hold_the_tower(clip):
    folder, _, model = clip
    inputs = build("llava", [[Image(4, 4), 25]])
    with torch.no_grad():
        features = model.model.get_image_features(inputs.pop("pixel_values"), return_dict=True)
    inputs["mm_encoder_outputs"] = {"image": features}
    given = pruner("cdpruner", clip=folder, pruning_ratio="0.5")
    with pytest.raises(InputError, match="cdpruner: clip needs the vision tower"):
        prune(given, model, family_of(model), inputs)
    assert IMAGE in inputs["input_ids"]
