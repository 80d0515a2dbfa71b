"""Packed questions are computed exactly as single-turn prompts, on untrained models of both families."""

import numpy as np
import pytest
import torch

from hawk.benchmarks.toy.questions import Question, training_questions
from hawk.benchmarks.toy.scenes import make_scene
from hawk.models import family_of
from hawk.pruning.prompt import prune
from hawk.training.architectures import FAMILIES, TinyModel, build
from hawk.training.evaluate import Given
from hawk.training.packing import Packed, Packer

IMAGES, QUESTIONS = 2, 3


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest) -> TinyModel:
    torch.manual_seed(0)
    tiny = build(request.param)
    with torch.no_grad():
        for parameter in tiny.model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)  # so that attention is not flat and context moves the logits
    return tiny


def pack(tiny: TinyModel) -> tuple[list[np.ndarray], list[list[Question]], Packer, Packed]:
    scenes = [make_scene("train", 0, i) for i in range(IMAGES)]
    random = np.random.default_rng(0)
    questions = [training_questions(scene.objects, QUESTIONS, random) for scene in scenes]
    packer = Packer(tiny)
    return [scene.image for scene in scenes], questions, packer, packer.pack(questions)


def single_turn(tiny: TinyModel, image: np.ndarray, question: Question) -> torch.Tensor:
    """Logits `[6, vocabulary]` from the question's last word on: word, ?, end, start, role, answer."""
    text = tiny.prompt(question.text) + question.answer
    return tiny.model(**tiny.processor(images=[image], text=[text], return_tensors="pt")).logits[0, -6:]


@torch.no_grad()
def test_packed_equals_single_turn(tiny: TinyModel) -> None:
    images, questions, packer, packed = pack(tiny)
    logits = packer.logits(packed, tiny.visual_tokens(tiny.preprocess(images)))
    for i, row in enumerate(questions):
        for slot, question in enumerate(row):
            expected = single_turn(tiny, images[i], question)
            torch.testing.assert_close(logits[i, slot], expected, atol=1e-5, rtol=0)
            other = single_turn(tiny, images[1 - i], question)
            assert (other - expected).abs().max() > 1e-2, "the check must notice another image"


def pruned_turn(tiny: TinyModel, image: np.ndarray, question: Question, kept: torch.Tensor) -> torch.Tensor:
    """Logits `[6, vocabulary]` as in `single_turn`, the other visual tokens really left out."""
    text = tiny.prompt(question.text) + question.answer
    inputs = tiny.processor(images=[image], text=[text], return_tensors="pt")
    prompt = prune(Given(kept=kept[None].numpy()), tiny.model, family_of(tiny.model), inputs, ["0"])
    assert prompt.input_ids.shape[1] == inputs["input_ids"].shape[1] - int((~kept).sum())
    return tiny.model(**prompt.kwargs()).logits[0, -6:]


@torch.no_grad()
def test_hidden_visual_tokens_are_as_if_pruned(tiny: TinyModel) -> None:
    images, questions, packer, packed = pack(tiny)
    kept = torch.from_numpy(np.random.default_rng(3).random((IMAGES, 64)) < 0.3)
    logits = packer.logits(packed, tiny.visual_tokens(tiny.preprocess(images)), kept)
    for i, row in enumerate(questions):
        for slot, question in enumerate(row):
            expected = pruned_turn(tiny, images[i], question, kept[i])
            torch.testing.assert_close(logits[i, slot], expected, atol=1e-4, rtol=0)
            other = pruned_turn(tiny, images[i], question, kept[1 - i])
            assert (other - expected).abs().max() > 1e-2, "the check must notice other tokens"


@torch.no_grad()
def test_targets_are_the_answer_from_the_last_word_on_and_the_end_of_turn(tiny: TinyModel) -> None:
    _, questions, packer, packed = pack(tiny)
    for i, row in enumerate(questions):
        for slot, question in enumerate(row):
            words = packer.tokenizer.convert_ids_to_tokens(packed.targets[i, slot])
            assert words == [question.answer] * 5 + ["<|im_end|>"]


def test_a_clue_is_the_colour_of_the_named_object(tiny: TinyModel) -> None:
    scene = make_scene("train", 0, 3)
    colors = {item.name: item.color for item in scene.objects}
    random = np.random.default_rng(0)
    questions = [training_questions(scene.objects, 40, random, (0, 0, 1, 2))]
    packer = Packer(tiny)
    plain, clued = packer.pack(questions).targets[0], packer.pack(questions, clues=True).targets[0]
    assert torch.equal(plain[:, 1:], clued[:, 1:])
    found = packer.tokenizer.convert_ids_to_tokens(clued[:, 0])
    for question, clue in zip(questions[0], found, strict=True):
        name = question.text.rstrip("?").split()[-1]
        assert clue == colors.get(name, "no")
    assert not torch.equal(plain, clued)


def test_template_takes_turns_systems_and_parts_in_any_order(tiny: TinyModel) -> None:
    text, image = {"type": "text", "text": "what shape is red?"}, {"type": "image"}
    turns = [
        {"role": "system", "content": "answer"},
        {"role": "user", "content": [text, image]},
        {"role": "assistant", "content": [{"type": "text", "text": "ring"}]},
        {"role": "user", "content": [image, {"type": "video"}, text]},
    ]
    rendered = tiny.processor.apply_chat_template(turns, add_generation_prompt=True)
    picture, film = {
        "qwen2_5_vl": [f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video")],
        "internvl": ["<IMG_CONTEXT>\n", "<video>\n"],
    }[tiny.family]
    question = "what shape is red?"
    assert rendered == (
        "<|im_start|>system\nanswer<|im_end|>\n"
        f"<|im_start|>user\n{question}{picture}<|im_end|>\n"
        "<|im_start|>assistant\nring<|im_end|>\n"
        f"<|im_start|>user\n{picture}{film}{question}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'llava'.*allowed: qwen2_5_vl, internvl"):
        build("llava")
