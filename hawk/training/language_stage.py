"""Second stage: teach the language model to answer, with the vision tower frozen.

The tower's tokens are computed once and kept. A step sees images of one source with eight questions
each: scenes, or every fifth step easy-VQA. A model that knows nothing must find out that a question is
about one object, how to look it up by its colour or name, and how to compare. Three things help it:
attention that is not flat at the start, the answer as a target at the question's last word too
(hawk.training.packing), and scenes with one to three objects first. What is learned last, colors and
presence, is asked most in the middle.

Later cycles, in each of which the learning rate starts again, are for questions that compare. There the
target at the last word is a clue, the colour or shape that is to be compared: in the second cycle for
scenes, in the third for easy-VQA too, which is then asked more often. The last cycle teaches to answer
from some of the visual tokens (hawk.training.subsets).
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from hawk.benchmarks.toy.easy_vqa import EasyVqaImage, read_images
from hawk.benchmarks.toy.questions import Question, training_questions
from hawk.benchmarks.toy.scenes import Scene, make_scene
from hawk.benchmarks.toy.vocabulary import EASY_VQA_SHAPES
from hawk.training.architectures import TinyModel
from hawk.training.labels import shows_object
from hawk.training.packing import SUPERVISED, Packer
from hawk.training.schedule import REPORT_EVERY, make_optimizer
from hawk.training.subsets import draw_subsets

SIMPLE_SCENES, SCENES, HELD_OUT_SCENES = 1500, 5000, 96
IMAGES, QUESTIONS = 32, 8  # in a batch, about an image
EASY_VQA_EVERY, SIMPLE_EVERY = (5, 5, 2, 4), 4  # the first by cycle
# Until which share of the steps all scenes are simple; between which two the hard tasks are frequent,
# and every fourth step's scenes still simple.
SIMPLE_SHARE, HARD_SHARES = 0.3, (0.3, 0.75)
HARD_WEIGHTS = (1, 1, 2, 3)  # digits, shapes, colors, presence
LATER_HARD_SHARE = 0.6  # of a later cycle
SHARPNESS = 4  # of queries and of keys, times transformers' initial weights
SHAPE_WEIGHT = 3  # of easy-VQA's yes-or-no questions about shapes, the hardest there
RATES, WARM_UPS = (2e-3, 2e-3, 2e-3, 5e-4), (100, 100, 100, 30)  # by cycle
SUBSET_CYCLE = 3  # the last: it continues a finished model, at a lower rate


class Batch(NamedTuple):
    features: torch.Tensor  # [images, 64, hidden]
    questions: list[list[Question]]  # as many about every image
    shows_object: np.ndarray  # bool [images, 64]


log = logging.getLogger(__name__)


@torch.no_grad()
def encode(tiny: TinyModel, images: list[np.ndarray], batch: int = 64) -> torch.Tensor:
    """Features `[images, 64, hidden]` in half precision, which halves the memory of the training set."""
    parts = [images[i : i + batch] for i in range(0, len(images), batch)]
    return torch.cat([tiny.visual_tokens(tiny.preprocess(part)).half() for part in parts])


class _Scenes:
    """Scenes with their features, and fresh random questions at every visit."""

    def __init__(self, tiny: TinyModel, scenes: list[Scene]) -> None:
        self.objects = [scene.objects for scene in scenes]
        self.features = encode(tiny, [scene.image for scene in scenes])
        self.shows_object = np.stack([shows_object(scene) for scene in scenes])

    def batch(self, random: np.random.Generator, size: int, hard: bool) -> Batch:
        chosen = random.integers(len(self.objects), size=size)
        weights = HARD_WEIGHTS if hard else (1, 1, 1, 1)
        questions = [training_questions(self.objects[i], QUESTIONS, random, weights) for i in chosen]
        return Batch(self.features[torch.from_numpy(chosen)], questions, self.shows_object[chosen])


class _EasyVqa:
    """The training images of easy-VQA with their features, and some of their own questions."""

    def __init__(self, tiny: TinyModel) -> None:
        self.images = list(read_images("train"))
        self.features = encode(tiny, [image.pixels() for image in self.images])
        self.shows_object = np.stack([shows_object(image) for image in self.images])

    def ask(self, clues: bool) -> None:
        """Which questions the next batches have."""
        self.questions = [_with_clues(image) if clues else image.questions for image in self.images]
        self.hard = [[q for q in questions for _ in range(_weight(q))] for questions in self.questions]

    def batch(self, random: np.random.Generator, size: int, hard: bool) -> Batch:
        chosen = random.integers(len(self.questions), size=size)
        pools = [(self.hard if hard else self.questions)[i] for i in chosen]
        questions = [[pool[i] for i in random.integers(len(pool), size=QUESTIONS)] for pool in pools]
        return Batch(self.features[torch.from_numpy(chosen)], questions, self.shows_object[chosen])


def _with_clues(image: EasyVqaImage) -> tuple[Question, ...]:
    """To yes-or-no questions the image's shape, or its colour if they name no shape."""
    shape, color = image.shape_and_color()

    def clued(question: Question) -> Question:
        if question.answer not in ("yes", "no"):
            return question
        names_shape = any(name in question.text for name in EASY_VQA_SHAPES)
        return replace(question, clue=shape if names_shape else color)

    return tuple(map(clued, image.questions))


def _weight(question: Question) -> int:
    asks_for_shape = any(name in question.text for name in EASY_VQA_SHAPES)
    return SHAPE_WEIGHT if asks_for_shape and question.answer in ("yes", "no") else 1


class TrainingImages:
    """All images of the stage with their features, for every cycle: the tower doesn't change."""

    def __init__(self, tiny: TinyModel, seed: int) -> None:
        started = time.monotonic()
        self.simple = _Scenes(tiny, [make_scene("train", seed, i, (1, 3)) for i in range(SIMPLE_SCENES)])
        self.full = _Scenes(tiny, [make_scene("train", seed, SIMPLE_SCENES + i) for i in range(SCENES)])
        unseen = [make_scene("train", seed, 800_000 + i) for i in range(HELD_OUT_SCENES)]
        self.held_out = _Scenes(tiny, unseen)
        self.easy = _EasyVqa(tiny)
        log.info("images encoded; %.0f s", time.monotonic() - started)


def train_language(tiny: TinyModel, images: TrainingImages, seed: int, steps: int, cycle: int = 0) -> None:
    """Train the language model of `tiny` in place.

    Only the first cycle has an easy beginning, and only the last one sees subsets of visual tokens.
    """
    if cycle == 0:
        _sharpen(tiny)
    for name, parameter in tiny.model.named_parameters():
        parameter.requires_grad_("language_model" in name)
    started = time.monotonic()
    packer = Packer(tiny)
    simple, full, held_out, easy = images.simple, images.full, images.held_out, images.easy
    easy.ask(clues=cycle > 1)
    easy_every = EASY_VQA_EVERY[cycle]
    weights = [p for p in tiny.model.parameters() if p.requires_grad]
    optimizer, scheduler = make_optimizer(weights, RATES[cycle], steps, WARM_UPS[cycle])
    random = np.random.default_rng((seed, 2) if cycle == 0 else (seed, 2, cycle))
    for step in range(steps):
        progress = step / steps
        source: _Scenes | _EasyVqa = full
        if cycle == 0:
            hard = HARD_SHARES[0] <= progress < HARD_SHARES[1]
            if progress < SIMPLE_SHARE or (hard and step % SIMPLE_EVERY == 0):
                source = simple
        else:
            hard = progress < LATER_HARD_SHARE
        if step % easy_every == easy_every - 1:
            source = easy
        batch = source.batch(random, IMAGES, hard)
        packed = packer.pack(batch.questions, clues=cycle > 0)
        kept = None
        if cycle == SUBSET_CYCLE:
            kept = torch.from_numpy(draw_subsets(batch.shows_object, random))
        logits = packer.logits(packed, batch.features, kept)
        loss = functional.cross_entropy(logits.flatten(0, -2), packed.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        scheduler.step()
        if step % REPORT_EVERY == 0 or step == steps - 1:
            log.info(
                "language step %d/%d loss %.3f; right: simple scenes %.3f, new scenes %.3f, "
                "seen easy-VQA %.3f; %.0f s",
                step, steps, loss.item(), *(_accuracy(packer, each) for each in (simple, held_out, easy)),
                time.monotonic() - started,
            )  # fmt: skip
    for parameter in tiny.model.parameters():
        parameter.requires_grad_(True)


@torch.no_grad()
def _sharpen(tiny: TinyModel) -> None:
    """From the usual start attention is uniform for long, and nothing is looked up."""
    for layer in tiny.model.model.language_model.layers:
        layer.self_attn.q_proj.weight.mul_(SHARPNESS)
        layer.self_attn.k_proj.weight.mul_(SHARPNESS)


@torch.no_grad()
def _accuracy(packer: Packer, source: _Scenes | _EasyVqa) -> float:
    """Share of right answers to the same questions every time, with right end of the turn."""
    batch = source.batch(np.random.default_rng(0), HELD_OUT_SCENES, hard=False)
    packed = packer.pack(batch.questions)
    right = packer.logits(packed, batch.features).argmax(-1) == packed.targets
    return right[..., -SUPERVISED:].all(-1).float().mean().item()
