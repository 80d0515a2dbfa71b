"""What each visual token shows, from how the picture was drawn."""

from __future__ import annotations

import numpy as np

from hawk.benchmarks.toy.easy_vqa import EasyVqaImage
from hawk.benchmarks.toy.scenes import IMAGE_SIZE, Scene
from hawk.benchmarks.toy.vocabulary import COLOR_NAMES, OBJECT_NAMES
from hawk.training.architectures import GRID, VISUAL_TOKENS

BACKGROUND, UNKNOWN = 0, -100


def scene_labels(scene: Scene) -> np.ndarray:
    """What each visual token shows: `[2, 64]`, name and colour, 0 for background."""
    labels = np.zeros((2, GRID, GRID), dtype=np.int64)  # a cell of the scene has 2x2 tokens
    for item in scene.objects:
        rows, columns = (
            slice(2 * item.row, 2 * item.row + 2),
            slice(2 * item.column, 2 * item.column + 2),
        )
        labels[0, rows, columns] = 1 + OBJECT_NAMES.index(item.name)
        labels[1, rows, columns] = 1 + COLOR_NAMES.index(item.color)
    return labels.reshape(2, VISUAL_TOKENS)


def easy_vqa_labels(image: EasyVqaImage) -> np.ndarray:
    """The same for an easy-VQA image: its shape is where pixels differ from the flat background.

    Shape and colour are what the training questions tell. Tokens of which they don't are ignored.
    """
    pixels = image.pixels().astype(np.int64)
    differs = abs(pixels - np.median(pixels.reshape(-1, 3), axis=0)).max(axis=-1) > 40
    size = IMAGE_SIZE // GRID
    shown = differs.reshape(GRID, size, GRID, size).sum(axis=(1, 3)).reshape(VISUAL_TOKENS) >= 3
    shape, color = image.shape_and_color()
    name_label = UNKNOWN if shape is None else 1 + OBJECT_NAMES.index(shape)
    color_label = UNKNOWN if color is None else 1 + COLOR_NAMES.index(color)
    return np.stack(
        [
            np.where(shown, name_label, BACKGROUND),
            np.where(shown, color_label, BACKGROUND),
        ]
    )


def shows_object(picture: Scene | EasyVqaImage) -> np.ndarray:
    """Which visual tokens show an object, bool `[64]`."""
    labels = scene_labels(picture) if isinstance(picture, Scene) else easy_vqa_labels(picture)
    shown: np.ndarray = labels[0] != BACKGROUND
    return shown
