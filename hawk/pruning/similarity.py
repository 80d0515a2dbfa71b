"""Cosine geometry of visual tokens, shared by the methods that look for diversity or coverage."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 512


def unit(features: Tensor) -> Tensor:
    """Rows of length 1 in float32, so that products are cosines; a zero row stays zero."""
    return torch.nn.functional.normalize(features.float(), dim=-1)


def cosine_slabs(rows: Tensor, columns: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, cosines [<= 512, n]) of unit vectors: the n x n matrix, never whole."""
    for begin in range(0, len(rows), _CHUNK):
        yield begin, rows[begin : begin + _CHUNK] @ columns.T


def min_max(values: Tensor, floor: float = 0.0) -> Tensor:
    """To [floor, 1 + floor] over the sample; values that are all equal become 1."""
    low, high = values.min(), values.max()
    if high == low:
        return torch.ones_like(values)
    return (values - low + floor) / (high - low)
