"""DivPrune: the subset whose closest two tokens are as far apart as possible, greedily.

Paper: DivPrune, CVPR 2025 (max-min diversity problem, its algorithm 1), written from the paper's
description. Distance is 1 - cosine of the visual embeddings that enter the language model. The
first token is the one farthest from its nearest neighbour; then, again and again, the token whose
nearest chosen token is farthest. Text plays no part.

Unlike the official code a chosen token is never chosen again (there, duplicated features give fewer
distinct tokens than asked for), the running minimum makes it O(count · n · hidden), and no n x n
matrix is kept. Ties go to the lower position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.errors import InputError
from hawk.pruning.base import Pruner, PruningContext

_CHUNK = 512


@dataclass(frozen=True)
class DivPrune(Pruner):
    """Max-min diverse visual tokens."""

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        features = context.features[candidates].float()
        if not torch.isfinite(features).all():
            raise InputError(f"{self!r}: the visual features hold NaN or infinity.")
        unit = torch.nn.functional.normalize(features, dim=-1)
        return candidates[max_min_diverse(unit, count)]


def max_min_diverse(unit: Tensor, count: int) -> Tensor:
    """Greedy max-min selection of ``count`` rows of unit vectors [n, d], in the order of choice."""
    chosen = [int(_nearest_distance(unit).argmax())]
    closest = 1 - unit @ unit[chosen[0]]  # distance to the nearest chosen token
    while len(chosen) < count:
        closest[chosen[-1]] = -torch.inf
        chosen.append(int(closest.argmax()))
        closest = torch.minimum(closest, 1 - unit @ unit[chosen[-1]])
    return torch.tensor(chosen, device=unit.device)


def _nearest_distance(unit: Tensor) -> Tensor:
    """Distance of every token to its nearest other token, [n], a slab of the matrix at a time."""
    nearest = torch.empty(len(unit), device=unit.device)
    for begin in range(0, len(unit), _CHUNK):
        slab = 1 - unit[begin : begin + _CHUNK] @ unit.T
        rows = torch.arange(len(slab), device=unit.device)
        slab[rows, begin + rows] = torch.inf
        nearest[begin : begin + _CHUNK] = slab.amin(1)
    return nearest
