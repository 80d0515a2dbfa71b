"""Prompts built from stored features are those of the processor, and give the same logits."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from tiny_prompts import Image, Video, build
from tiny_random import MODELS

from hawk.benchmarks import Benchmark, Sample
from hawk.core.errors import InputError
from hawk.core.images import item_key
from hawk.core.provenance import provenance
from hawk.inference.encoding import encode
from hawk.inference.feature_store import FeatureStore, feature_writer
from hawk.inference.preprocessing import sample_inputs
from hawk.inference.prompts import Prompts
from hawk.inference.visual_files import VisualFile
from hawk.models import family_of
from hawk.models.base import VisionLanguageModel
from hawk.models.turns import remember_markers
from hawk.pruning.methods.random import Random
from hawk.pruning.prompt import prune


class Ask(Benchmark):
    name = "ask"
    family = "ask"

    def load(self):
        return iter(())


def png(seed, height, width):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_from_the_processor_and_from_the_store(family, tmp_path):
    from hawk.training.architectures import build as untrained

    torch.manual_seed(0)
    tiny = untrained(family)
    model = tiny.model.eval().requires_grad_(False)
    for parameter in family_of(model).layers(model).parameters():
        parameter.mul_(4)  # untrained weights are so small that every image looks the same
    vlm = VisionLanguageModel(model, tiny.processor, family_of(model))
    remember_markers(model, vlm.family.markers(tiny.processor.tokenizer, model.config))
    images = [png(0, 64, 64), png(1, 64, 128), png(2, 96, 64)]
    files = tuple({"bytes": content, "path": None} for content in images)
    samples = [
        Sample("a", "g", "which digit is red?", ("7",), files[:1]),
        Sample("b", "g", "is there a green 4?", ("yes",), files[1:]),
    ]
    path = tmp_path / "f.safetensors"
    with feature_writer(path, provenance({"role": "evaluation"})) as add:
        for content in images:
            add(item_key(content), encode(vlm, VisualFile.of({"bytes": content}), {}))
    prompts = Prompts(vlm, Ask(), samples, FeatureStore(path), "vlmevalkit")
    stored = prompts.inputs([0, 1])
    texts = [
        tiny.processor.apply_chat_template(Ask().messages(sample), tokenize=False, add_generation_prompt=True)
        for sample in samples
    ]
    pictures = [[Picture.open(io.BytesIO(i["bytes"])) for i in sample.images] for sample in samples]
    direct = dict(tiny.processor(text=texts, images=pictures, padding=True, return_tensors="pt"))
    assert torch.equal(stored["input_ids"], direct["input_ids"])
    assert torch.equal(stored["attention_mask"], direct["attention_mask"])
    logits = []
    for inputs in (stored, direct):
        prompt = prune(Random(pruning_ratio=0.5), model, vlm.family, inputs, keys=["a", "b"])
        logits.append(model(**prompt.kwargs(), logits_to_keep=1).logits)
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-4)
    other = prune(Random(pruning_ratio=0.5, seed=1), model, vlm.family, stored, keys=["a", "b"])
    moved = (model(**other.kwargs(), logits_to_keep=1).logits - logits[0]).abs().amax((1, 2))
    assert (moved > 1e-3).all()


@pytest.mark.parametrize(
    ("family", "token"),
    [("qwen2_5_vl", "<|image_pad|>"), ("qwen2_5_vl", "<|video_pad|>"), ("internvl", "<IMG_CONTEXT>")],
)
def test_a_sample_whose_question_holds_a_pictures_token(family, token, tmp_path):
    """It would count as a picture: a traceback of the processor, or another picture's place."""
    from hawk.training.architectures import build as untrained

    tiny = untrained(family)
    vlm = VisionLanguageModel(tiny.model, tiny.processor, family_of(tiny.model))
    content = png(0, 64, 64)
    sample = Sample("s1", "g", f"what is {token}?", ("7",), ({"bytes": content, "path": None},))
    path = tmp_path / "f.safetensors"
    with feature_writer(path, provenance({"role": "evaluation"})) as add:
        add(item_key(content), encode(vlm, VisualFile.of({"bytes": content}), {}))
    for make in (
        lambda: Prompts(vlm, Ask(), [sample], FeatureStore(path), "vlmevalkit"),
        lambda: sample_inputs(vlm, Ask(), "vlmevalkit", {}, sample),
    ):
        with pytest.raises(InputError, match="^benchmark 'ask', sample 's1': the prompt holds") as told:
            make()
        assert token in str(told.value)


@pytest.mark.parametrize("rows", [[Image(2, 3)], [Image(2, 2), Image(1, 2)], [Video(3, 1, 1)]])
@pytest.mark.parametrize("family", sorted(MODELS))
def test_items_survive_the_round_trip(family, rows):
    """Items → stored inputs and features → the same items, for every family."""
    model = MODELS[family]()
    family_ = family_of(model)
    inputs = build(family, [[*rows, 20]])
    before = family_.encode(model, inputs)
    items = [item for found in before.values() for item in found]
    again = {
        "input_ids": inputs["input_ids"],
        "mm_encoder_outputs": family_.encoder_outputs(
            {m: torch.cat([i.features for i in found]) for m, found in before.items()},
            {
                m: [torch.cat(level) for level in zip(*(i.levels for i in found), strict=True)]
                for m, found in before.items()
            },
        ),
        **family_.stored_inputs(items),
    }
    after = family_.encode(model, again)
    assert before.keys() == after.keys()
    for modality in before:
        for old, new in zip(before[modality], after[modality], strict=True):
            assert torch.equal(old.features, new.features)
            assert (old.grid, old.modality, dict(old.meta)) == (new.grid, new.modality, dict(new.meta))
            assert len(old.levels) == len(new.levels)
            assert all(torch.equal(a, b) for a, b in zip(old.levels, new.levels, strict=True))


@pytest.mark.parametrize("family", sorted(MODELS))
def test_expanding_counts_images(family):
    model = MODELS[family]()
    family_ = family_of(model)
    inputs = build(family, [[Image(2, 2), 20]])
    items = family_.encode(model, inputs)["image"]
    token = family_.placeholders(model.config)["image"]
    assert family_.expand([30, token, 31], items, model.config).count(token) == items[0].tokens
    with pytest.raises(InputError, match="more images than"):
        family_.expand([30, 31], items, model.config)
    with pytest.raises(InputError, match="more visual placeholders"):
        family_.expand([token, token], items, model.config)
