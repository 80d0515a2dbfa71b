"""HAWK's token score with signed head weights: an experiment, not the paper's method.

The paper's weights are non-negative: the drop of the least useful head becomes 0. A head whose
removal from the score *helps* then still counts a little, or not at all. With signed weights it
counts against a token:

    I_k = Σ over heads of s_i · normalize over tokens(a_i)(k),     s_i in any sign, Σ |s_i| = 1

docs/findings.md says what that does. Everything else, and the cost, is that of
:class:`hawk.pruning.methods.hawk.Hawk`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family
from hawk.pruning.context import PruningContext
from hawk.pruning.methods.hawk import Hawk, normalize


@dataclass(frozen=True)
class SignedHawk(Hawk):
    """HAWK's token score with head weights of any sign; an experiment, not the paper's method.

    Parameters
    ----------
    signed : sequence of float
        One weight per head of the scoring layer, in any sign, not all 0; ``weights`` is not used.

    The other options are those of :class:`hawk.pruning.methods.hawk.Hawk`.
    """

    signed: Sequence[float] = ()

    paper = "HAWK, CVPR 2026, arXiv 2604.07812; signed weights are this project's"
    takes_weights = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None:
            raise InputError("hawk_signed takes its weights in the option signed, not in weights.")
        if not any(self.signed) or not all(math.isfinite(value) for value in self.signed):
            raise InputError(f"hawk_signed: signed {list(self.signed)!r} must be finite, not all 0.")
        object.__setattr__(self, "signed", tuple(float(value) for value in self.signed))

    def check(self, model: nn.Module, family: Family) -> None:
        super().check(model, family)
        heads = family.geometry(model).heads
        if len(self.signed) != heads:
            raise InputError(f"hawk_signed: {len(self.signed)} weights for the model's {heads} heads.")

    def scores(self, context: PruningContext) -> Tensor:
        raw = self.head_scores(context)
        total = torch.tensor(self.signed, dtype=raw.dtype, device=raw.device)
        return normalize(raw, self.token_score_normalization).T @ (total / total.abs().sum())
