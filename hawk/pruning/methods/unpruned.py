"""The baseline as a pruner. It is no method of the registry: every run measures it anyway."""

from __future__ import annotations

from dataclasses import dataclass

from hawk.pruning.base import Pruner


@dataclass(frozen=True)
class Unpruned(Pruner):
    """Everything stays: the baseline, through the same code as every method."""

    paper = "control"
    is_control = True
    ratio_free = True
