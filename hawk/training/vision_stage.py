"""First stage: teach the vision tower to say what is where.

From answers alone the model doesn't learn in reasonable time: the tower's tokens say nothing yet,
so the language model has nothing to attend to. Here every visual token predicts the name and the
colour of the object it shows, through two linear heads. Their rows then become the embeddings of
those words: "red" starts where red tokens are, so the language model need not search for that too.
"""

from __future__ import annotations

import logging
import time

import numpy as np
import torch
from torch.nn import functional

from hawk.benchmarks.toy.easy_vqa import read_images
from hawk.benchmarks.toy.scenes import BUSY, make_scene
from hawk.benchmarks.toy.vocabulary import COLOR_NAMES, OBJECT_NAMES
from hawk.training.architectures import TEXT, TinyModel
from hawk.training.labels import BACKGROUND, UNKNOWN, easy_vqa_labels, scene_labels
from hawk.training.schedule import REPORT_EVERY, make_optimizer

BACKGROUND_WEIGHT = 0.1  # four in five tokens are background
SCENES, EASY_VQA_IMAGES = 24, 8  # in a batch; busy scenes: more to learn from at the same cost
RATE = 2e-3
FIRST_TRAINING_SCENE = 1_000_000  # the language stage has the scenes below

log = logging.getLogger(__name__)


def train_vision(tiny: TinyModel, seed: int, steps: int, cycle: int = 0) -> None:
    """Train the vision tower (and projector) of `tiny` in place, and place its words.

    Another `cycle` sees other scenes.
    """
    tower = [p for name, p in tiny.model.named_parameters() if "language_model" not in name]
    torch.manual_seed(1000 * (seed + 1) + cycle)  # the same whether or not training was interrupted
    heads = torch.nn.ModuleList(
        torch.nn.Linear(TEXT["hidden_size"], 1 + len(names)) for names in (OBJECT_NAMES, COLOR_NAMES)
    )
    optimizer, scheduler = make_optimizer([*tower, *heads.parameters()], RATE, steps)
    easy = list(read_images("train"))
    random = np.random.default_rng((seed, 1, cycle))
    started = time.monotonic()
    for step in range(steps):
        first = (1 + cycle) * FIRST_TRAINING_SCENE + step * SCENES
        scenes = [make_scene("train", seed, first + i, BUSY) for i in range(SCENES)]
        photos = [easy[i] for i in random.integers(len(easy), size=EASY_VQA_IMAGES)]
        images = [scene.image for scene in scenes] + [photo.pixels() for photo in photos]
        labels = [scene_labels(scene) for scene in scenes] + [easy_vqa_labels(photo) for photo in photos]
        loss = _loss(
            tiny.visual_tokens(tiny.preprocess(images)),
            heads,
            torch.from_numpy(np.stack(labels)),
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower, 1.0)
        optimizer.step()
        scheduler.step()
        if step % REPORT_EVERY == 0 or step == steps - 1:
            names, colors = measure(tiny, heads, seed)
            seconds = time.monotonic() - started
            log.info(
                "vision step %d/%d loss %.3f; held-out tokens: name %.3f color %.3f; %.0f s",
                step, steps, loss.item(), names, colors, seconds,
            )  # fmt: skip
    place_words(tiny, heads)


@torch.no_grad()
def place_words(tiny: TinyModel, heads: torch.nn.ModuleList) -> None:
    """Embeddings of names and colours: the rows of the heads, about 0, with a mean norm of 1."""
    embeddings = tiny.model.get_input_embeddings().weight
    ids = tiny.processor.tokenizer.convert_tokens_to_ids
    for head, names in zip(heads, (OBJECT_NAMES, COLOR_NAMES), strict=True):
        rows = head.weight[1:] - head.weight[1:].mean(0)
        embeddings[ids(list(names))] = rows / rows.norm(dim=-1).mean()


def _loss(features: torch.Tensor, heads: torch.nn.ModuleList, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of names and colours `[images, 2, 64]`; features are `[images, 64, hidden]`."""
    total = features.new_zeros(())
    for head, target in zip(heads, labels.unbind(1), strict=True):
        weight = torch.ones(head.out_features)
        weight[BACKGROUND] = BACKGROUND_WEIGHT
        total = total + functional.cross_entropy(
            head(features).flatten(0, 1), target.flatten(), weight, ignore_index=UNKNOWN
        )
    return total


@torch.no_grad()
def measure(tiny: TinyModel, heads: torch.nn.ModuleList, seed: int, scenes: int = 64) -> tuple[float, float]:
    """Accuracy over tokens of objects with training scans of unseen scenes: name and colour."""
    held_out = [make_scene("train", seed, 900_000 + i) for i in range(scenes)]
    labels = torch.from_numpy(np.stack([scene_labels(scene) for scene in held_out]))
    features = tiny.visual_tokens(tiny.preprocess([scene.image for scene in held_out]))
    shown = labels[:, 0] != BACKGROUND
    name, color = (
        (head(features).argmax(-1) == labels[:, i])[shown].float().mean().item()
        for i, head in enumerate(heads)
    )
    return name, color
