"""Every family through the processor of transformers: pictures of different shapes, several, in batches.

The processor writes the prompt; what hawk makes of it is compared with the unpruned model whose removed
tokens are masked, which knows nothing of images, tiles or templates.
"""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import tiny_prompts
import torch
from oracles import contexts_of, masked, pruned, stacked, swapped
from PIL import Image as Picture
from tiny_random import MODELS, internvl3_5

import hawk
from hawk.benchmarks import Benchmark, Sample
from hawk.core.errors import InputError
from hawk.inference.encoding import Recomputed
from hawk.inference.preprocessing import prompt_inputs, sample_inputs
from hawk.inference.prompts import AnswerTokenizer, Prompts
from hawk.pruning import pruner
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.methods.random import Random
from hawk.pruning.methods.visionzip import TOWERS
from hawk.pruning.prompt import prune

FAMILIES = sorted(MODELS)
QUESTION = "which one is red ?"


class Ask(Benchmark):
    name = "ask"
    family = "ask"

    def load(self):
        return iter(())

    def messages(self, sample, protocol="vlmevalkit"):
        """Text on both sides."""
        (message,) = super().messages(sample, protocol)
        message["content"].insert(0, {"type": "text", "text": "yes "})
        return [message]


class ImagesFirst(Ask):
    def messages(self, sample, protocol="vlmevalkit"):
        return Benchmark.messages(self, sample, protocol)


def picture(seed, height, width):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


# Upright, a small square, wide, and an extreme shape: other tiles of each where a family tiles.
PICTURES = [picture(0, 48, 30), picture(1, 16, 16), picture(2, 30, 62), picture(3, 20, 130)]
SAMPLES = [
    Sample("upright", "g", QUESTION, ("yes",), (PICTURES[0],)),
    Sample("three", "g", QUESTION, ("yes",), (PICTURES[2], PICTURES[1], PICTURES[0])),
    Sample("text", "g", QUESTION, ("yes",)),
    Sample("extreme", "g", QUESTION, ("yes",), (PICTURES[3],)),
]


def opened(sample):
    return [Picture.open(io.BytesIO(image["bytes"])) for image in sample.images]


def batch(vlm, samples, bench=None):
    """What a user writes: the chat template and the processor, on the whole batch."""
    conversations = []
    for sample in samples:
        (message,) = (bench or Ask()).messages(sample)
        images = iter(opened(sample))
        content = [
            {"type": "image", "image": next(images)} if part["type"] == "image" else part
            for part in message["content"]
        ]
        conversations.append([{"role": "user", "content": content}])
    return dict(
        vlm.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
    )


@pytest.mark.parametrize("family", [*FAMILIES, "internvl3_5"])
def test_pruned_is_masked(family):
    if family == "internvl3_5":
        vlm = tiny_prompts.vlm("internvl", internvl3_5())
    else:
        vlm = tiny_prompts.vlm(family)
    inputs = batch(vlm, SAMPLES)
    given = Random(pruning_ratio=0.6)
    out = pruned(vlm.model, given, inputs)
    kept, visual = given.last.kept_index, given.last.visual_tokens
    assert visual[2] == 0
    assert min(visual[:2] + visual[3:]) >= 4
    expected = masked(vlm.model, inputs, kept)
    torch.testing.assert_close(stacked(out), stacked(expected), rtol=0, atol=1e-5)
    assert torch.equal(out.sequences, expected.sequences)
    other = masked(vlm.model, inputs, swapped(kept, visual))  # the control
    rows = torch.tensor(visual) > 0
    assert ((out.logits[0] - other.logits[0]).abs().amax(-1)[rows] > 0.05).all()


@pytest.mark.parametrize(
    ("family", "method"),
    [
        (family, method)
        for family in FAMILIES
        for method in ("hawk", "fastv", "visionzip", "cdpruner", "mmtok")
        if method != "visionzip" or family in TOWERS
    ],
)
def test_a_batch_is_as_its_rows(family, method):
    """Kept sets of every method are those of each sample alone."""
    vlm = tiny_prompts.vlm(family)
    given = pruner(method, pruning_ratio="0.6")
    pruned(vlm.model, given, batch(vlm, SAMPLES), max_new_tokens=1, min_new_tokens=1)
    together = [index.tolist() for index in given.last.kept_index]
    for sample, found in zip(SAMPLES, together, strict=True):
        pruned(vlm.model, given, batch(vlm, [sample]), max_new_tokens=1, min_new_tokens=1)
        assert given.last.kept_index[0].tolist() == found, sample.sample_id
    assert together[0] != together[3]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_loads_and_chooses_the_same(family, tmp_path):
    vlm = tiny_prompts.vlm(family)
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    loaded = hawk.load(str(tmp_path), device="cpu")
    given, kept = Hawk(pruning_ratio=0.5), []
    for one in (vlm, loaded):
        out = pruned(one.model, given, batch(one, SAMPLES))
        kept.append(([index.tolist() for index in given.last.kept_index], out.sequences.tolist()))
    assert kept[0] == kept[1]


def test_a_processor_that_misses_a_package_says_so(tmp_path, monkeypatch):
    from transformers.models.smolvlm import processing_smolvlm

    vlm = tiny_prompts.vlm("smolvlm")
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(InputError, match="its processor cannot be read: .*pip install num2words") as caught:
        hawk.load(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_item_per_picture_and_the_question_between(family):
    vlm = tiny_prompts.vlm(family)
    given = Hawk(pruning_ratio=0.5)
    for sample in SAMPLES:
        for context in contexts_of(given, vlm.model, batch(vlm, [sample])):
            assert len(context.items) == len(sample.images)
            asked = context.ids[context.query_index("instruction")]
            words = vlm.processor.tokenizer.decode(asked).split()
            assert words == f"yes {QUESTION}".split()


class Blanks:
    """A tokenizer that takes a blank with the word behind it, as byte-pair vocabularies do."""

    eos_token_id = 0

    def __init__(self):
        self.words = {}

    def __call__(self, text, add_special_tokens=False):
        return {
            "input_ids": [self.words.setdefault(w, len(self.words)) for w in re.findall(r" ?\w+|\W", text)]
        }


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_tokens_as_the_template_writes_them(family):
    made = tiny_prompts.processor(family)
    blanks = Blanks()
    answers = AnswerTokenizer(made)
    answers.tokenizer = blanks
    ids = answers("yes")["input_ids"]
    (found,) = [word for word, i in blanks.words.items() if [i] == ids]
    assert found == (" yes" if family in ("llava", "idefics3", "smolvlm") else "yes")
    assert answers("")["input_ids"] == []


def test_prompts_take_their_answers_from_it(monkeypatch):
    monkeypatch.setattr(AnswerTokenizer, "__call__", lambda self, text, **_: {"input_ids": [len(text)]})
    vlm = tiny_prompts.vlm("idefics3")
    prompts = Prompts(vlm, Ask(), SAMPLES[:1], Recomputed(vlm, SAMPLES, {}), "vlmevalkit")
    assert prompts.answers == [[3]]
    assert prompts.first_tokens[0].right == (3,)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_workflow_writes_the_same_prompts(family):
    """Ids and answers' logits of prompts made from encoded pictures; and of ``hawk generate``."""
    vlm = tiny_prompts.vlm(family)
    prompts = Prompts(vlm, Ask(), SAMPLES, Recomputed(vlm, SAMPLES, {}), "vlmevalkit")
    for i, sample in enumerate(SAMPLES):
        inputs, own = batch(vlm, [sample]), prompts.inputs([i])
        assert own["input_ids"].tolist() == inputs["input_ids"].tolist()
        again = sample_inputs(vlm, Ask(), "vlmevalkit", {}, sample)
        assert again["input_ids"].tolist() == inputs["input_ids"].tolist()
        both = [prune(Random(pruning_ratio=0.5), vlm.model, vlm.family, x, ["k"]) for x in (inputs, own)]
        logits = [vlm.model(**one.kwargs(), logits_to_keep=1).logits for one in both]
        torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-5)
        other = prune(Random(pruning_ratio=0.5), vlm.model, vlm.family, own, ["other"])  # the control
        moved = (vlm.model(**other.kwargs(), logits_to_keep=1).logits - logits[1]).abs().max()
        assert (moved > 1e-2) == bool(sample.images)
        asked = prompt_inputs(vlm, QUESTION, opened(sample))["input_ids"]
        assert asked.tolist() == batch(vlm, [sample], ImagesFirst())["input_ids"].tolist()
