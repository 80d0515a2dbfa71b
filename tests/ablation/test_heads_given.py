"""Heads as people write them: a name or a pair is no Head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hawk.ablation.ablate_heads import AblateHeads
from hawk.core.errors import InputError
from hawk.core.heads import Head

WRONG = [None, "L0H1", Head(0, 1), {Head(0, 1)}, ["L0H1"], [(0, 1)], [3], [[Head(0, 1)], None], [[0]]]


@pytest.mark.parametrize("heads", [*WRONG, np.array([[0, 1]])], ids=repr)
def test_what_is_no_head_is_refused_when_given(heads: Any) -> None:
    with pytest.raises(InputError, match=r"heads.* is .*; it must be a (list of Head|Head, as Head)"):
        AblateHeads(heads)


def test_lists_of_heads_and_one_list_per_row_are_taken() -> None:
    one, two = Head(0, 1), Head(1, 0)
    for heads in ([], [one], (one, two), [[one], [two]], [[], [one]]):
        AblateHeads(heads)
