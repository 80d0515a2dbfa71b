"""EVS: the tokens of a video that changed since the frame before.

Efficient Video Sampling, NVIDIA (arXiv 2510.14624), as vLLM's ``--video-pruning-rate`` has it. With
v_t(x) the visual token of frame t at place x:

    score_t(x) = 1 - cos(v_t(x), v_{t-1}(x)) for t > 0;   the first frame goes before everything

and the highest stay. Text plays no part.

Differences from vLLM: the count is the central budget (there the first frame stays whole at least,
so short videos keep more than asked for); the position policy is the pruner's (there ``rebase``).
Tokens without a frame before them, the first frame and every image, come in the order in which
:class:`hawk.pruning.methods.grid.Grid` visits them: where a budget does not hold them all, those that
stay lie evenly, and not at the top. On images alone EVS therefore *is* the grid control.

Time O(n · hidden), memory O(n). Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.models.base import VisualItem
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.fetch import send
from hawk.pruning.similarity import unit
from hawk.pruning.spread import visiting_time


@dataclass(frozen=True)
class Evs(Pruner):
    """Tokens of a video that changed since the frame before; on images it is the grid control."""

    paper = "Efficient Video Sampling (NVIDIA), arXiv 2510.14624"

    def scores(self, context: PruningContext) -> Tensor:
        return torch.cat([frame_change(item) for item in context.items])


def frame_change(item: VisualItem) -> Tensor:
    """Scores of one item's tokens, [tokens]: a change in [0, 2], first frames in (2, 3]."""
    frames, rows, columns = item.grid
    place = rows * columns
    vectors = unit(item.features)
    if item.modality != "video" or frames * place > item.tokens:  # tiles are no frames
        frames, place, order = 1, item.tokens, visiting_time(item.grid, item.tokens)
    else:
        order = visiting_time((1, rows, columns), place)
    first = 3 - send(order / (order.max() + 1), vectors.device)
    before, after = vectors[: (frames - 1) * place], vectors[place : frames * place]
    change = (1 - (before * after).sum(-1)).clamp(0, 2).double()
    # What stands behind the grid (OneVision's newline token) belongs to no frame: last.
    rest = change.new_full((item.tokens - frames * place,), -1.0)
    return torch.cat([first, change, rest])
