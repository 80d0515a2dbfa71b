"""Where the question is, in the published vocabulary: whatever it begins with, in every family."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import real
import torch
from oracles import FAMILIES as EVERY
from oracles import contexts_of
from tiny_prompts import Image, build
from tiny_random import IMAGE, MODELS, VISION_END, VISION_START
from tiny_random import build as random_model

from hawk.core.errors import InputError
from hawk.models import family_of
from hawk.models.base import Family
from hawk.models.turns import instruction_index, remember_markers
from hawk.pruning.methods.cdpruner import CDPruner
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.methods.mmtok import MMTok
from hawk.pruning.prompt import prune

# Those whose turns are ChatML's, as the real vocabulary here has them.
FAMILIES = [name for name in EVERY if name not in ("llava", "llava_next", "idefics3", "smolvlm")]

# Ids of image tokens and what stands around them, as published.
IDS = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), (151_652, 151_655, 151_653)),
    "internvl": (151_665, 151_667, 151_666),
    "llava_onevision": (151_645, 151_646, 151_645),  # nothing stands around them
}
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
END = "<|im_end|>\n"
FIRST_QUESTION, OTHER_QUESTION = "Which colour is the door?", "How many people wait there?"
# What a question may begin with: every one of these merges with, or follows, the template's line break.
BEGINNINGS = ["", "\n", "\n\n", "\n \n", "\r\n", "\t\n", " ", "  \n\n\n", "user\n", "你"]


def opening(family: str) -> str:
    return "<|im_start|>user " if family == "llava_onevision" else "<|im_start|>user\n"


@cache
def published(family: str) -> torch.nn.Module:
    """A tiny random model with the published vocabulary and the published ids."""
    plain = MODELS[family]()
    config = copy.deepcopy(plain.config)
    config.text_config.vocab_size = 152_064
    start, image, end = IDS[family]
    config.image_token_id, config.video_token_id = image, 151_656
    if hasattr(config, "vision_start_token_id"):
        config.vision_start_token_id, config.vision_end_token_id = start, end
    model = random_model(type(plain), config, "sdpa", 0)
    markers = family_of(model).published_markers(config)
    assert markers is not None
    remember_markers(model, markers)
    return model


def ids_of(text: str) -> list[int]:
    return real.tokenizer()(text, add_special_tokens=False)["input_ids"]


def picture_ids(family: str) -> tuple[list[int], dict]:
    """A picture's ids, and the rest of what a processor gives."""
    size = 6 if family.startswith("qwen") else 2  # visual tokens, or tiles
    inputs = build(family, [[Image(size, size), 20]])
    known = dict(zip((VISION_START, IMAGE, VISION_END), IDS[family], strict=True))
    ids = [known[token] for token in inputs["input_ids"][0].tolist() if token in known]
    return ids, inputs


def prompt(family: str, before: str, after: str) -> dict:
    """``before`` ends where the picture stands; both with the template's own text."""
    ids, inputs = picture_ids(family)
    ids = [*ids_of(before), *ids, *ids_of(after)]
    inputs["input_ids"] = torch.tensor([ids])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == IDS[family][1]).long()
    return inputs


def question(family: str, inputs: dict) -> str:
    model = published(family)
    visual = set(family_of(model).placeholders(model.config).values())
    ids = inputs["input_ids"][0].tolist()
    markers = family_of(model).published_markers(model.config)
    return real.tokenizer().decode([ids[i] for i in instruction_index(ids, visual, markers, "instruction")])


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_question_is_found_whatever_it_begins_with(family, beginning):
    text = beginning + FIRST_QUESTION
    user = opening(family)
    alone = question(family, prompt(family, SYSTEM + user + text, END))
    assert alone.strip() == text.strip()
    # A token that holds the template's line break and the text's is text; nothing else is added.
    assert alone.removeprefix("\n") in (text, text.removeprefix("\n"), f" {text}")
    chat = f"{SYSTEM}{user}Is it day?{END}<|im_start|>assistant\nYes.{END}{user}{text}"
    assert question(family, prompt(family, chat, f"{END}<|im_start|>assistant\n")) == alone


@pytest.mark.parametrize("method", [Hawk, MMTok, CDPruner])
@pytest.mark.parametrize("family", FAMILIES)
def test_another_question_keeps_other_tokens(family, method):
    """With the picture in the first turn, and a line break before the question."""
    user = opening(family)
    kept = []
    for text in (FIRST_QUESTION, OTHER_QUESTION):
        after = f"Is it day?{END}<|im_start|>assistant\nYes.{END}{user}\n{text}{END}<|im_start|>assistant\n"
        model = published(family)
        out = prune(method(pruning_ratio=0.5), model, family_of(model), prompt(family, SYSTEM + user, after))
        kept.append(out.last.kept_index[0].tolist())
    assert kept[0] != kept[1]


@pytest.mark.parametrize("method", [Hawk, MMTok, CDPruner])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_without_a_user_turn_is_refused(family, method):
    model = published(family)
    inputs = prompt(family, SYSTEM, f"{FIRST_QUESTION}{END}")
    with pytest.raises(InputError, match="no user turn.*chat template"):
        prune(method(pruning_ratio=0.5), model, family_of(model), inputs)


def test_a_role_that_the_tokenizer_merges_is_refused():
    class Merging:
        def __call__(self, text, add_special_tokens):
            return {"input_ids": [1, 3] if text.endswith("user\n") else [1, 2, 4][: 2 + (len(text) > 16)]}

    class AnyFamily(Family):
        encode = encoder_outputs = placeholders = stored_inputs = None

    with pytest.raises(InputError, match="merges '<|im_start|>user'"):
        AnyFamily().markers(Merging(), None)


@pytest.mark.parametrize("more", [0, 1, 3])
def test_more_ids_before_an_image_than_there_are(more):
    """All that stands before it is then no query; what follows is."""
    inputs = build("qwen2_5_vl", [[20, Image(2, 2), 21]])
    (context,) = contexts_of(Hawk(pruning_ratio=0.5), MODELS["qwen2_5_vl"](), inputs)
    (item,) = context.items
    context.items = [replace(item, meta={**item.meta, "lead": int(context.visual_index[0]) + more})]
    assert context.ids[context._find_query("instruction")].tolist() == [21]
