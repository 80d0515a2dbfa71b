"""Subsets of the visual tokens of an image, as a pruned prompt has them, for training.

A model that has only seen 64 tokens, most of them background, knows no pruned prompt: it answers and
does not stop, most of all where only objects are left. So training shows every number of tokens and
every share of background. The kinds know the picture's geometry at most, never features, scores or
questions, so that no method of selection is trained for.
"""

from __future__ import annotations

import math

import numpy as np

from hawk.training.architectures import GRID, VISUAL_TOKENS

ALL_SHARE = 0.3  # of images keep every token
SMALLEST_RETENTION = 1 / 16
# Sets without any background are rare by a drawn share, and the hardest, so they are a kind of their own.
KINDS = ("random", "crop", "grid", "background share", "only objects")


def draw_subsets(shows_object: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Which tokens each image keeps, bool `[images, 64]`.

    `shows_object`, of the same shape: tokens on which an object is drawn.
    """
    return np.stack([_draw(row, random) for row in shows_object])


def _draw(shows_object: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if random.random() < ALL_SHARE:
        return np.ones(VISUAL_TOKENS, dtype=bool)
    retention = math.exp(random.uniform(math.log(SMALLEST_RETENTION), 0))
    kind = KINDS[random.integers(len(KINDS))]
    return subset(kind, math.ceil(VISUAL_TOKENS * retention), shows_object, random)


def subset(kind: str, count: int, shows_object: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`count` tokens of one kind, bool `[64]`; fewer where the image has no more with an object."""
    if kind == "random":
        chosen = random.permutation(VISUAL_TOKENS)[:count]
    elif kind == "crop":
        chosen = _crop(count, random)
    elif kind == "grid":
        chosen = _grid(count, random)
    elif kind == "only objects":
        count = min(count, max(1, int(shows_object.sum())))
        chosen = with_background(0, count, shows_object, random)
    else:
        chosen = with_background(round(count * random.random()), count, shows_object, random)
    kept = np.zeros(VISUAL_TOKENS, dtype=bool)
    kept[chosen] = True
    return kept


def with_background(
    background: int, count: int, shows_object: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """`count` tokens, `background` of them without an object, or as near to it as the image allows."""
    objects, rest = (random.permutation(np.flatnonzero(part)) for part in (shows_object, ~shows_object))
    background = min(max(background, count - len(objects)), len(rest))
    return np.concatenate([rest[:background], objects[: count - background]])


def _crop(count: int, random: np.random.Generator) -> np.ndarray:
    """A rectangle somewhere, its last row perhaps not full."""
    width = int(random.integers(math.ceil(count / GRID), min(GRID, count) + 1))
    height = math.ceil(count / width)
    top, left = random.integers(GRID - height + 1), random.integers(GRID - width + 1)
    place = np.arange(count)
    return (top + place // width) * GRID + left + place % width


def _grid(count: int, random: np.random.Generator) -> np.ndarray:
    """Rows and columns at even distances from a random start; what is too many is left out anywhere."""
    rows = int(random.integers(math.ceil(count / GRID), min(GRID, count) + 1))
    columns = math.ceil(count / rows)
    down, right = (np.floor((np.arange(n) + random.random()) * GRID / n).astype(int) for n in (rows, columns))
    lattice = (down[:, None] * GRID + right).ravel()
    return random.permutation(lattice)[:count]
