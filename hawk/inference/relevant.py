"""From where an object is on an image to the visual tokens that show some of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hawk.benchmarks.base import Box
from hawk.core.images import open_image
from hawk.inference.preprocessing import prepare_image
from hawk.models.base import VisionLanguageModel, VisualItem


def relevant_tokens(
    vlm: VisionLanguageModel,
    content: bytes,
    item: VisualItem,
    boxes: Sequence[Box],
    preprocessing: Mapping[str, Any],
) -> Tensor:
    """Which tokens of an encoded image show some of one of the boxes, bool [tokens].

    content: the image's file; boxes are in pixels of that image, upright. Families resize an image to
    their own grid, or grids, along each side alone; so a token shows its share of either side.
    """
    width, height = open_image(content).size
    prepared = prepare_image(vlm, content, preprocessing)
    # Padding to a square puts the image in the middle, as ImageOps.pad rounds it.
    right, down = round((prepared.width - width) * 0.5), round((prepared.height - height) * 0.5)
    x_first, y_first, x_last, y_last = vlm.family.visible(vlm.processor, (prepared.height, prepared.width))
    size = (y_last - y_first, x_last - x_first)
    shown = torch.zeros(item.tokens, dtype=torch.bool)
    for layout in vlm.family.layouts(vlm.model, vlm.processor, item, size):
        tokens = torch.tensor(layout.tokens).view(layout.rows, layout.columns)
        for x0, y0, x1, y1 in boxes:
            rows = _touched(y0 + down - y_first, y1 + down - y_first, size[0], layout.rows)
            columns = _touched(x0 + right - x_first, x1 + right - x_first, size[1], layout.columns)
            shown[tokens[rows, columns].flatten()] = True
    return shown


def _touched(begin: int, end: int, pixels: int, cells: int) -> slice:
    """The cells, of ``cells`` equal ones along a side, that the pixels from begin up to end lie in."""
    begin, end = (min(max(place, 0), pixels) for place in (begin, end))
    return slice(begin * cells // pixels, -(-end * cells // pixels)) if begin < end else slice(0)
