"""Controls: what any method must beat before it has shown anything."""

from __future__ import annotations

from dataclasses import dataclass

from hawk.pruning.base import Pruner


@dataclass(frozen=True)
class Unpruned(Pruner):
    """Everything stays: the baseline, through the same code as every method."""
