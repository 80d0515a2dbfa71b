"""Cosines among visual tokens: the matrix by blocks, and one row at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hawk.pruning import similarity
from hawk.pruning.similarity import Cosines, gram, unit


@pytest.mark.parametrize("block", [1, 4, 7, 100])
def test_blocks_make_the_whole_matrix(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_BLOCK", block)
    vectors = np.random.default_rng(0).normal(size=(23, 5))
    expected = np.array([[sum(a * b for a, b in zip(x, y, strict=True)) for x in vectors] for y in vectors])
    found = gram(torch.tensor(vectors)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert not np.allclose(np.roll(found, 1, axis=0), expected)


@pytest.mark.parametrize("width", [4, 40])  # row by row, and from the matrix
def test_a_row_and_the_nearest_other(width: int) -> None:
    vectors = unit(torch.randn(30, width, generator=torch.Generator().manual_seed(0)))
    cosines = Cosines(vectors)
    wide = vectors.double().numpy()
    products = wide @ wide.T
    np.testing.assert_allclose(cosines.row(torch.tensor([7])).numpy(), products[7], atol=1e-6)
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(cosines.nearest().numpy(), products.max(1), atol=1e-6)
