"""The downscale control: not fewer tokens of the image, but a smaller image of fewer tokens.

Any pruner keeps some tokens of a large image; the plain alternative at the same cost is to shrink
the image before the vision tower. A method that does not beat it has shown nothing. The image is
resized to a grid of at most as many tokens as the budget has, as near to it as its shape allows:
never more, so the control has no advantage. Positions are those of the smaller image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.pruning.base import Pruner
from hawk.pruning.budget import kept_count
from hawk.pruning.context import PruningContext

SHAPE = 0.25  # what a change of shape costs, against an equal change of area


def downscaled_grid(rows: int, columns: int, count: int) -> tuple[int, int]:
    """The grid of at most ``count`` tokens for an image of ``rows`` x ``columns`` tokens.

    Nearest in area and shape: the least log(count / area) + SHAPE · |log of the change of shape|.
    """
    if count >= rows * columns:
        return rows, columns
    grids = [(r, c) for r in range(1, min(rows, count) + 1) for c in range(1, columns + 1)]

    def cost(grid: tuple[int, int]) -> float:
        shape = grid[0] / grid[1] * columns / rows
        return math.log(count / (grid[0] * grid[1])) + SHAPE * abs(math.log(shape))

    return min((grid for grid in grids if grid[0] * grid[1] <= count), key=cost)


def target_size(
    grid: tuple[int, int, int], factor: int, ratio: object, rounding: str = "ceil"
) -> tuple[int, int]:
    """(height, width) in pixels for the budget of one image of a token grid.

    factor: side of a visual token in pixels (patch size x merge size).
    """
    frames, rows, columns = grid
    if frames != 1:
        raise InputError("downscale is for single images whose visual tokens are one rectangle.")
    small = downscaled_grid(rows, columns, kept_count(rows * columns, ratio, rounding))
    return small[0] * factor, small[1] * factor


@dataclass(frozen=True)
class Downscale(Pruner):
    """All tokens of a smaller image: images are shrunk before the vision tower.

    The step that evaluates it resizes every image by itself (``budget: per_image``, whatever is
    set). Attached to a model it would do nothing, so that is refused.
    """

    paper = "control"
    is_control = True
    keeps_budget = "at most"  # not every count is a grid of the image's shape
    other_images = True
    uses_tower = True
    families = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")  # others cut an image into tiles of one size

    def kept_indices(self, context: PruningContext) -> Tensor:
        return torch.arange(context.tokens)

    @property
    def inactive(self) -> bool:
        return True

    def attach(self, model: nn.Module, processor: Any = None) -> Any:
        raise InputError("downscale works on images, before the model: resize them instead.")
