"""The published easy-VQA data set: one shape per 64x64 image, ten questions each, 13 answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pyarrow import parquet

from hawk.benchmarks.toy.questions import Question
from hawk.benchmarks.toy.scenes import Box
from hawk.benchmarks.toy.vocabulary import EASY_VQA_COLORS, EASY_VQA_SHAPES
from hawk.core.shipped import shipped

SPLITS = ("train", "test")
NOISE = 8  # grey levels by which the background may differ from itself


@dataclass(frozen=True)
class EasyVqaImage:
    image_id: int
    png: bytes
    questions: tuple[Question, ...]

    def pixels(self) -> np.ndarray:
        """`[64, 64, 3]`, uint8."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.png)).convert("RGB"))

    def box(self) -> Box:
        """Of the one shape: left, top, right, bottom. It is where pixels differ from the flat background."""
        pixels = self.pixels().astype(np.int64)
        differs = abs(pixels - np.median(pixels.reshape(-1, 3), axis=0)).max(axis=-1) > NOISE
        rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    def shape_and_color(self) -> tuple[str | None, str | None]:
        """The shape and colour that the questions give away, None where they don't."""
        shape = color = None
        for question in self.questions:
            words = question.text.rstrip("?").split()
            negated = "not" in words or "no" in words
            affirmed = question.answer == ("no" if negated else "yes")
            known = {question.answer} | (set(words) if affirmed or words[0] == "what" else set())
            shape = next((name for name in EASY_VQA_SHAPES if name in known), shape)
            color = next((name for name in EASY_VQA_COLORS if name in known), color)
        return shape, color


def read_images(split: str) -> Iterator[EasyVqaImage]:
    """The images of one split with their questions, in the order of the image ids."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} of easy-VQA is unknown; allowed: {', '.join(SPLITS)}")
    table = parquet.read_table(shipped("data") / "easy_vqa" / f"{split}.parquet")
    images: dict[int, bytes] = {}
    questions: dict[int, list[Question]] = {}
    columns = (table[name].to_pylist() for name in ("image_id", "image", "question", "answer"))
    for image_id, png, text, answer in zip(*columns, strict=True):
        images[image_id] = png
        questions.setdefault(image_id, []).append(Question(text, answer))
    for image_id in sorted(images):
        yield EasyVqaImage(image_id, images[image_id], tuple(questions[image_id]))
