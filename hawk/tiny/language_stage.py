"""Second stage: teach the language model to answer, with the vision tower frozen.

The tower's tokens are computed once and kept. A step sees images of one source with ten questions
each: scenes, or every fifth step easy-VQA. Two things make the model find out sooner that a question
is about one object: the first scenes have one to three, and in the first half of the training the
questions about an image are one conversation, where earlier answers help with later questions.
Afterwards each stands alone, as in use.
"""

import logging
import time

import numpy as np
import torch
from torch.nn import functional

from hawk.tiny.architectures import TinyModel
from hawk.tiny.easy_vqa import read_images
from hawk.tiny.packing import Packer
from hawk.tiny.questions import Question, training_questions
from hawk.tiny.scenes import Scene, make_scene
from hawk.tiny.schedule import make_optimizer

SIMPLE_SCENES, SCENES, HELD_OUT_SCENES = 1500, 5000, 96
SIMPLE_SHARE, CONVERSATION_SHARE = 0.12, 0.45  # of the steps
IMAGES, QUESTIONS = 40, 10  # in a batch, about an image
EASY_VQA_EVERY = 5
RATE = 2e-3

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

    def batch(self, random: np.random.Generator, size: int) -> tuple[torch.Tensor, list[list[Question]]]:
        chosen = random.integers(len(self.objects), size=size)
        questions = [training_questions(self.objects[i], QUESTIONS, random) for i in chosen]
        return self.features[torch.from_numpy(chosen)], questions


class _EasyVqa:
    """The training images of easy-VQA with their features, and ten of their own questions."""

    def __init__(self, tiny: TinyModel) -> None:
        images = list(read_images("train"))
        self.questions = [image.questions for image in images]
        self.features = encode(tiny, [image.pixels() for image in images])

    def batch(self, random: np.random.Generator, size: int) -> tuple[torch.Tensor, list[list[Question]]]:
        chosen = random.integers(len(self.questions), size=size)
        questions = [
            [self.questions[i][j] for j in random.integers(len(self.questions[i]), size=QUESTIONS)]
            for i in chosen
        ]
        return self.features[torch.from_numpy(chosen)], questions


def train_language(tiny: TinyModel, seed: int, steps: int) -> None:
    """Train the language model of `tiny` in place."""
    for name, parameter in tiny.model.named_parameters():
        parameter.requires_grad_("language_model" in name)
    started = time.monotonic()
    packer = Packer(tiny)
    simple = _Scenes(tiny, [make_scene("train", seed, i, (1, 3)) for i in range(SIMPLE_SCENES)])
    full = _Scenes(tiny, [make_scene("train", seed, SIMPLE_SCENES + i) for i in range(SCENES)])
    held_out = _Scenes(tiny, [make_scene("train", seed, 800_000 + i) for i in range(HELD_OUT_SCENES)])
    easy = _EasyVqa(tiny)
    log.info("images encoded; %.0f s", time.monotonic() - started)
    weights = [p for p in tiny.model.parameters() if p.requires_grad]
    optimizer, scheduler = make_optimizer(weights, RATE, steps)
    random = np.random.default_rng((seed, 2))
    for step in range(steps):
        source = simple if step < SIMPLE_SHARE * steps else full
        if step % EASY_VQA_EVERY == EASY_VQA_EVERY - 1:
            source = easy
        features, questions = source.batch(random, IMAGES)
        packed = packer.pack(questions, apart=step >= CONVERSATION_SHARE * steps)
        logits = packer.logits(packed, features)
        loss = functional.cross_entropy(logits.flatten(0, -2), packed.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        scheduler.step()
        if step % 25 == 0 or step == steps - 1:
            log.info(
                "language step %d/%d loss %.3f; right: new scenes %.3f, seen easy-VQA %.3f; %.0f s",
                step, steps, loss.item(), _accuracy(packer, held_out), _accuracy(packer, easy),
                time.monotonic() - started,
            )  # fmt: skip
    for parameter in tiny.model.parameters():
        parameter.requires_grad_(True)


@torch.no_grad()
def _accuracy(packer: Packer, source: _Scenes | _EasyVqa) -> float:
    """Share of right answers to the same questions every time, with right end of the turn."""
    features, questions = source.batch(np.random.default_rng(0), HELD_OUT_SCENES)
    packed = packer.pack(questions)
    right = packer.logits(packed, features).argmax(-1) == packed.targets
    return right.all(-1).float().mean().item()
