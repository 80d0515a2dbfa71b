"""Cosine geometry of visual tokens, shared by the methods that look for diversity or coverage."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 512
_BLOCK = 256


def unit(features: Tensor) -> Tensor:
    """Rows of length 1 in float32, so that products are cosines; a zero row stays zero."""
    return torch.nn.functional.normalize(features.float(), dim=-1)


def cosine_slabs(rows: Tensor, columns: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, cosines [<= 512, n]) of unit vectors: the n x n matrix, never whole."""
    for begin in range(0, len(rows), _CHUNK):
        yield begin, rows[begin : begin + _CHUNK] @ columns.T


def gram(vectors: Tensor) -> Tensor:
    """``vectors @ vectors.T``, [n, n]. On a CPU every product of two blocks of rows is computed once."""
    if vectors.device.type != "cpu":
        return vectors @ vectors.T
    whole = vectors.new_empty(len(vectors), len(vectors))
    for begin in range(0, len(vectors), _BLOCK):
        end = begin + _BLOCK
        whole[begin:end, begin:] = vectors[begin:end] @ vectors[begin:].T
        whole[end:, begin:end] = whole[begin:end, end:].T
    return whole


class Cosines:
    """Cosines among n unit vectors [n, d], for methods that ask for one row at a time.

    The n x n matrix is kept while it is at most twice as large as the vectors (n <= 2 d): one product of
    matrices takes less time than one of a matrix and a vector for every tenth row, and a row of it is read
    instead of all vectors. Otherwise every row is a product of its own.
    """

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors
        self._whole = gram(vectors) if len(vectors) <= 2 * vectors.shape[1] else None

    def row(self, index: Tensor) -> Tensor:
        """Of the vector ``index`` (long [1]: a number would be waited for on an accelerator), [n]."""
        if self._whole is not None:
            return self._whole[index][0]
        return self._vectors @ self._vectors[index][0]

    def nearest(self) -> Tensor:
        """Of every vector and the other that is most like it, [n]."""
        whole = self._whole
        slabs = cosine_slabs(self._vectors, self._vectors) if whole is None else [(0, whole.clone())]
        nearest = self._vectors.new_empty(len(self._vectors))
        for begin, cosines in slabs:
            cosines.diagonal(begin).fill_(-torch.inf)  # what is alike most is the vector itself
            nearest[begin : begin + len(cosines)] = cosines.amax(1)
        return nearest


def min_max(values: Tensor, floor: float = 0.0) -> Tensor:
    """To [floor, 1 + floor] over the sample; values that are all equal become 1."""
    low, high = values.min(), values.max()
    # Both are computed, on whatever device: to ask which one is needed would be a wait.
    return torch.where(high == low, torch.ones_like(values), (values - low + floor) / (high - low))
