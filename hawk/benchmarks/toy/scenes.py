"""Small pictures with several objects, so that a question needs one of them and not the others.

A scene has 64x64 pixels: a 4x4 grid of cells of 16x16 on a dark, noisy background, some of them
with a coloured shape or a handwritten digit: 4 to 7, in a busy scene 10 to 13. No name occurs twice,
and neither do two digits or two shapes of one colour, so every question has one answer.
`make_scene(split, seed, index)` always gives the same scene; splits share no scan of a digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hawk.benchmarks.toy.digits import load_scans
from hawk.benchmarks.toy.drawing import resize_scan, shape_mask, slant
from hawk.benchmarks.toy.vocabulary import COLORS, DIGITS, SHAPES

IMAGE_SIZE = 64
GRID = 4
CELL = IMAGE_SIZE // GRID
SPLITS = ("train", "test")
USUAL, BUSY = (4, 7), (10, 13)  # objects in a scene

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom lie outside


@dataclass(frozen=True)
class SceneObject:
    kind: str  # "digit" or "shape"
    name: str  # "7", "ring"
    color: str
    row: int  # of the cell, 0-3
    column: int

    @property
    def box(self) -> Box:
        """The cell that the object fills but for a few pixels."""
        left, top = self.column * CELL, self.row * CELL
        return left, top, left + CELL, top + CELL


@dataclass(frozen=True)
class Scene:
    image: np.ndarray  # [64, 64, 3], uint8
    objects: tuple[SceneObject, ...]


def make_scene(split: str, seed: int, index: int, count: tuple[int, int] = USUAL) -> Scene:
    """The scene with this number; `count` bounds the number of objects, both ends included."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} of the scenes is unknown; allowed: {', '.join(SPLITS)}")
    random = np.random.default_rng((SPLITS.index(split), seed, index))
    objects = _place_objects(random, count)
    image = random.integers(0, 30, (1, 1, 3)) + random.integers(0, 30, (IMAGE_SIZE, IMAGE_SIZE, 3))
    for item in objects:
        _paint(image, item, split, random)
    return Scene(image.astype(np.uint8), objects)


def _place_objects(random: np.random.Generator, count: tuple[int, int]) -> tuple[SceneObject, ...]:
    total = int(random.integers(count[0], count[1] + 1))
    fewest = 2 if total >= 4 else 0  # a full scene has at least two objects of either kind
    # Names and colours must suffice: at most 7 digits (one per colour) and 6 shapes.
    least, most = max(fewest, total - len(SHAPES)), min(total - fewest, len(COLORS))
    digits = int(random.integers(least, most + 1))
    cells = random.permutation(GRID * GRID)[:total]
    named = [
        (kind, name, color)
        for kind, names, number in (
            ("digit", DIGITS, digits),
            ("shape", SHAPES, total - digits),
        )
        for name, color in zip(
            _draw(random, names, number),
            _draw(random, tuple(COLORS), number),
            strict=True,
        )
    ]
    return tuple(
        SceneObject(*description, row=int(cell) // GRID, column=int(cell) % GRID)
        for description, cell in zip(named, cells, strict=True)
    )


def _draw(random: np.random.Generator, names: tuple[str, ...], number: int) -> list[str]:
    """`number` different names."""
    return [names[i] for i in random.permutation(len(names))[:number]]


def _paint(image: np.ndarray, item: SceneObject, split: str, random: np.random.Generator) -> None:
    """Blend an object into its cell, at a random place and size, in a random shade of its colour."""
    if item.kind == "digit":
        mask = _digit_mask(item.name, split, random)
    else:
        mask = shape_mask(item.name, int(random.integers(13, 16)))
    height, width = mask.shape
    top = item.row * CELL + int(random.integers(0, CELL - height + 1))
    left = item.column * CELL + int(random.integers(0, CELL - width + 1))
    shade = np.clip(np.array(COLORS[item.color]) + random.integers(-15, 16, 3), 0, 255)
    patch = image[top : top + height, left : left + width]
    alpha = mask[..., None]
    patch[:] = (patch * (256 - alpha) + shade * alpha) // 256


def _digit_mask(name: str, split: str, random: np.random.Generator) -> np.ndarray:
    """A scan of the digit. Training scans are few, so they vary in size, slant and thickness."""
    pixels, labels = load_scans(split)
    scan = pixels[random.choice(np.flatnonzero(labels == int(name)))]
    smallest = 13 if split == "train" else 15
    height, width = random.integers(smallest, CELL + 1), random.integers(smallest - 1, CELL + 1)
    mask = resize_scan(scan, int(height), int(width))
    if split == "train":
        mask = slant(mask, int(random.integers(-3, 4)), int(random.integers(-2, 3)))
        mask = np.minimum(mask * random.integers(180, 360) // 256, 256)
    return mask
