"""What a pruner is, and what it is given.

A pruner is a frozen dataclass in one file: its fields are its hyper-parameters, its ``repr`` goes
into the results. Most override ``scores`` (a number per visual token; the highest stay) or
``select`` (a set of tokens). Everything around that, the budget, the positions, the batch and the
model's own ``generate``, is in :mod:`hawk.pruning.prompt` and :mod:`hawk.pruning.attach`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError, unknown
from hawk.models.base import Family
from hawk.pruning.budget import ROUNDING, exact_ratio, kept_count
from hawk.pruning.context import LastRun, PruningContext
from hawk.pruning.positions import POLICIES

BUDGETS = ("pooled", "per_image")


@dataclass(frozen=True)
class Pruner:
    """Base class and common fields.

    pruning_ratio: fraction of visual tokens removed, in [0, 1), at most four decimals.
    rounding: of tokens x (1 - ratio): "ceil" (authors' code), "floor" (paper) or "round".
    budget: "pooled" over all images of a sample, or "per_image": for every image, and every
        frame of a video, its own share.
    position_policy: "keep", "rebase" or "repack", see :mod:`hawk.pruning.positions`.
    """

    pruning_ratio: float | str = 0.0
    rounding: str = "ceil"
    budget: str = "pooled"
    position_policy: str = "keep"
    _state: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    uses_query: ClassVar[bool] = False  # does the selection depend on the question?
    uses_tower: ClassVar[bool] = False  # does it need the vision tower, so no stored features?

    def __post_init__(self) -> None:
        exact_ratio(self.pruning_ratio)
        for name, allowed in (
            ("rounding", ROUNDING),
            ("budget", BUDGETS),
            ("position_policy", POLICIES),
        ):
            if getattr(self, name) not in allowed:
                raise unknown(name, getattr(self, name), allowed)

    # --- what a method overrides -----------------------------------------------------------
    def scores(self, context: PruningContext) -> Tensor:
        """Importance of every visual token, [n], higher is kept. Override this or ``select``."""
        raise TypeError(f"{type(self).__name__} defines neither scores nor select.")

    def finite_scores(self, context: PruningContext) -> Tensor:
        """``scores``, refused where one is NaN or infinite."""
        scores = self.scores(context).to(context.visual_index.device)
        if not torch.isfinite(scores).all():
            raise InputError(
                f"{self!r}: {int((~torch.isfinite(scores)).sum())} of {len(scores)} token scores are "
                "not finite; the model's features or weights hold NaN or infinity."
            )
        return scores

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        """``count`` distinct entries of ``candidates`` (indices into the sample's visual tokens)."""
        scores = self.finite_scores(context)
        # A stable sort keeps the lower position first among equal scores.
        order = torch.sort(scores[candidates], descending=True, stable=True).indices
        return candidates[order[:count]]

    def check(self, model: nn.Module, family: Family) -> None:
        """Refuse a model that does not fit (head weights of another geometry)."""

    # --- what callers use ------------------------------------------------------------------
    def kept_indices(self, context: PruningContext) -> Tensor:
        """The kept visual tokens of one sample, ascending, exactly as many as the budget says."""
        every = torch.arange(context.tokens, device=context.visual_index.device)
        if exact_ratio(self.pruning_ratio) == 0:
            return every
        if self.budget == "pooled":
            groups = [every]
        else:
            group = context.budget_group
            groups = [every[group == i] for i in group.unique()]
        chosen = []
        for candidates in groups:
            count = self.count(len(candidates))
            picked = candidates if count == len(candidates) else self.select(context, candidates, count)
            if len(picked) != count or len(torch.unique(picked)) != count:
                raise AssertionError(
                    f"{self!r} chose {len(torch.unique(picked))} distinct of {len(picked)} tokens; "
                    f"the budget is {count}."
                )
            chosen.append(picked)
        return torch.cat(chosen).sort().values

    @property
    def inactive(self) -> bool:
        """True if nothing would be removed whatever the prompt."""
        return exact_ratio(self.pruning_ratio) == 0

    def count(self, tokens: int) -> int:
        """Visual tokens kept of ``tokens``."""
        return kept_count(tokens, self.pruning_ratio, self.rounding)

    @property
    def last(self) -> LastRun:
        """What happened in the last ``generate`` inside ``attach`` (or the last ``prune``)."""
        return self._state.get("last", LastRun())

    def note_unpruned(self, visual_tokens: list[int]) -> None:
        """Record a call in which nothing was removed, so that ``last`` never tells of an older one."""
        kept = [torch.arange(count) for count in visual_tokens]
        self._state["last"] = LastRun(list(visual_tokens), list(visual_tokens), kept)

    @contextmanager
    def attach(self, model: nn.Module, processor: Any = None) -> Iterator[Pruner]:
        """Inside this context ``model.generate`` prunes; see :func:`hawk.pruning.attach.attach`."""
        from hawk.pruning.attach import attach

        with attach(self, model, processor):
            yield self

    def watch(self, model: nn.Module, family: Family) -> Any:
        """A context manager around the encoding of a batch, for methods that look into the tower.

        It yields a list that gets one tensor per run of the tower: a number per visual token.
        """
        return nullcontext([])

    def prepared(self, prompt: Any, contexts: Sequence[PruningContext | None]) -> None:
        """Told after a batch was pruned; contexts are per row, None for rows without images."""

    def hooks(self, model: nn.Module, family: Family) -> Any:
        """A context manager for what a method does *inside* the model; none for most.

        It serves every forward pass over the batch pruned last: generation, teacher forcing.
        """
        return nullcontext()

    def settings(self) -> Mapping[str, Any]:
        """The fields, for the results."""
        from dataclasses import fields

        return {f.name: getattr(self, f.name) for f in fields(self) if f.repr}
