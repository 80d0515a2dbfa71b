"""Start a language model from another one's, as InternVL3 starts from Qwen2.5.

Weights are copied, embeddings by word. The new tower's tokens mean the same in other coordinates, so
the projector's last layer takes on the linear map that brings them closest to the old tower's.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from hawk.benchmarks.toy.easy_vqa import read_images
from hawk.benchmarks.toy.scenes import make_scene
from hawk.models.loading import read
from hawk.training.architectures import TinyModel
from hawk.training.language_stage import encode

SCENES, EASY_VQA_IMAGES = 600, 300
FIRST_SCENE = 700_000  # no other stage has these

SAME_ROLE = {"<img>": "<|vision_start|>", "</img>": "<|vision_end|>"}

log = logging.getLogger(__name__)


@torch.no_grad()
def adopt_language(tiny: TinyModel, folder: Path, seed: int) -> None:
    """Give the InternVL model `tiny` the language model saved in `folder`, a Qwen2.5-VL one."""
    base = TinyModel(
        "qwen2_5_vl",
        read(AutoModelForImageTextToText, str(folder), "model"),
        read(AutoProcessor, str(folder), "processor"),
    )
    _copy_language(base, tiny)
    scenes = [make_scene("train", seed, FIRST_SCENE + i).image for i in range(SCENES)]
    photos = [image.pixels() for image, _ in zip(read_images("train"), range(EASY_VQA_IMAGES), strict=False)]
    images: list[np.ndarray] = scenes + photos
    new, old = (encode(model, images).float().flatten(0, 1) for model in (tiny, base))
    extended = torch.cat([new, torch.ones(len(new), 1)], dim=-1)  # [tokens, hidden + 1]
    solution = torch.linalg.lstsq(extended, old).solution
    error = (extended @ solution - old).pow(2).mean() / old.var(0).mean()
    log.info("projector aligned: %.3f of the variance is not explained", error)
    linear, offset = solution[:-1].T, solution[-1]  # [hidden, hidden], [hidden]
    last = tiny.model.model.multi_modal_projector.linear_2
    last.weight.copy_(linear @ last.weight)
    last.bias.copy_(linear @ last.bias + offset)


def _copy_language(base: TinyModel, tiny: TinyModel) -> None:
    source, target = (model.model.model.language_model.state_dict() for model in (base, tiny))
    for name, weight in source.items():
        if not name.startswith("embed_tokens"):
            target[name].copy_(weight)
    known = base.processor.tokenizer.get_vocab()
    for word, row in tiny.processor.tokenizer.get_vocab().items():
        other = known.get(SAME_ROLE.get(word, word))
        if other is not None:
            target["embed_tokens.weight"][row] = source["embed_tokens.weight"][other]
