"""What a pruner is, and what it is given.

A pruner is a frozen dataclass in one file: its fields are its hyper-parameters, its ``repr`` goes
into the results. Most override ``scores`` (a number per visual token; the highest stay) or
``select`` (a set of tokens). Everything around that, the positions, the batch and the model's own
``generate``, is the engine below it: :mod:`hawk.pruning.prompt` and :mod:`hawk.pruning.attach`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError, unknown
from hawk.core.values import check_bounds, check_type
from hawk.models.base import Family
from hawk.pruning.attach import attach, last_run
from hawk.pruning.budget import ROUNDING, exact_ratio, kept_count
from hawk.pruning.context import LastRun, PruningContext
from hawk.pruning.fetch import send
from hawk.pruning.positions import POLICIES
from hawk.pruning.prompt import PrunedPrompt

BUDGETS = ("pooled", "per_image", "per_tile")


@dataclass(frozen=True)
class Pruner:
    """Base class and common fields.

    Parameters
    ----------
    pruning_ratio : float or str, default 0
        Fraction of visual tokens removed, in [0, 1), at most four decimals.
    rounding : {"ceil", "floor", "round"}, default "ceil"
        Of tokens x (1 - ratio): "ceil" (authors' code), "floor" (paper) or "round".
    budget : {"pooled", "per_image", "per_tile"}, default "pooled"
        Over all images of a sample; or for every image, or every tile of one, its own share, and for every
        frame of a video. Per tile only where tokens are of one tile each: not LLaVA-NeXT, -OneVision.
    position_policy : {"keep", "rebase", "repack"}, default "keep"
        See :mod:`hawk.pruning.positions`.
    """

    pruning_ratio: float | str = 0.0
    rounding: str = "ceil"
    budget: str = "pooled"
    position_policy: str = "keep"

    # --- facts of a method -----------------------------------------------------------------
    # What the rest of the package must know of a method without asking for its name. A method
    # overrides them with literals: hawk.pruning.options reads them, as the fields, from the source.
    paper: ClassVar[str] = ""  # "TITLE, VENUE, arXiv NUMBER", or "control", or "ceiling"
    is_control: ClassVar[bool] = False  # what every other method must beat
    is_floor: ClassVar[bool] = False  # a control that shows the model no visual token
    is_ceiling: ClassVar[bool] = False  # told what no method can know: the most that a choice can reach
    uses_relevant: ClassVar[bool] = False  # must be told which tokens show the asked object (``relevant``)
    keeps_budget: ClassVar[Literal[True, False, "at most"]] = True  # as many tokens as the ratio says?
    ratio_free: ClassVar[bool] = False  # the same at every ratio: measured once
    other_images: ClassVar[bool] = False  # works on the images: other features at every ratio
    takes_weights: ClassVar[bool] = False  # has an option ``weights`` for HeadWeights
    takes_scoring: ClassVar[tuple[str, ...]] = ()  # options that the section ``scoring`` of a run sets
    uses_query: ClassVar[bool] = False  # does the selection depend on the question?
    reads_other_question: ClassVar[bool] = False  # can it be given another sample's question?
    uses_tower: ClassVar[bool] = False  # does it need the vision tower, so no stored features?
    # (option, value) with which it needs the vision tower; (option,): with any value but null.
    uses_tower_with: ClassVar[tuple[str, ...]] = ()
    inside_model: ClassVar[bool] = False  # does it remove tokens in ``hooks``, while the model runs?
    needs_scorer: ClassVar[bool] = False  # must it be given a scorer?
    families: ClassVar[tuple[str, ...]] = ()  # the model families that it works on; empty: all
    model_options: ClassVar[tuple[str, ...]] = ()  # options that are a model's folder or Hub id
    # Checked here and in the config: values of options that have few, and where numbers lie, as "1..",
    # "0..1", "above 0", "above 0..100" or "0..layers" (below the number of layers, where the model is known).
    allowed: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    bounds: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        exact_ratio(self.pruning_ratio)
        for option in fields(self):  # annotations are text here: as they are written
            if option.name != "pruning_ratio":
                check_type(
                    str(option.type), getattr(self, option.name), f"{type(self).__name__}: {option.name}"
                )
        few = {"rounding": ROUNDING, "budget": BUDGETS, "position_policy": POLICIES, **self.allowed}
        for name, allowed in few.items():
            if getattr(self, name) not in allowed:
                raise unknown(name, getattr(self, name), allowed)
        for name, bounds in self.bounds.items():
            check_bounds(bounds, getattr(self, name), f"{type(self).__name__}: {name}")

    # --- what a method overrides -----------------------------------------------------------
    def scores(self, context: PruningContext) -> Tensor:
        """Importance of every visual token, [n], higher is kept. Override this or ``select``."""
        raise TypeError(f"{type(self).__name__} defines neither scores nor select.")

    def select(self, context: PruningContext, candidates: Tensor, count: int) -> Tensor:
        """``count`` distinct entries of ``candidates`` (indices into the sample's visual tokens).

        Called once per image where the budget is per image. What it needs of the whole prompt it
        asks for through ``context.once``.
        """
        return highest(self.finite_scores(context), candidates, count)

    def check(self, model: nn.Module, family: Family) -> None:
        """Refuse a model that does not fit (head weights of another geometry)."""

    def watch(self, model: nn.Module, family: Family) -> AbstractContextManager[list[Tensor]]:
        """A context manager around the encoding of a batch, for methods that look into the tower.

        It yields a list that gets one tensor per run of the tower: a number per visual token.
        """
        return nullcontext([])

    def hooks(self, model: nn.Module, family: Family, prompt: PrunedPrompt) -> AbstractContextManager[None]:
        """A context manager for what a method does *inside* the model; nothing for most.

        It serves every forward pass over ``prompt``: generation, teacher forcing. A method that
        removes tokens there says so by ``inside_model`` and writes what it removed to ``prompt.last``.
        """
        return nullcontext()

    # --- what callers use ------------------------------------------------------------------
    def finite_scores(self, context: PruningContext) -> Tensor:
        """``scores``, computed once per prompt and refused where one is NaN or infinite.

        Those on a GPU are refused when the whole batch has been pruned.
        """

        def compute() -> Tensor:
            scores = send(self.scores(context), context.device)
            if scores.device.type == "cpu":
                return self.finite(scores)
            context.unchecked.append((scores, self.finite))
            return scores

        return context.once("scores", self, compute)

    def finite(self, scores: Tensor) -> Tensor:
        """``scores``, refused where one is NaN or infinite."""
        if not torch.isfinite(scores).all():
            raise InputError(
                f"{self!r}: {int((~torch.isfinite(scores)).sum())} of {len(scores)} token scores are "
                "not finite; the model's features or weights hold NaN or infinity."
            )
        return scores

    def kept_indices(self, context: PruningContext) -> Tensor:
        """The kept visual tokens of one sample, ascending, exactly as many as the budget says.

        On any device. That no token comes twice is seen when it has come to the CPU.
        """

        def choose(candidates: Tensor, count: int) -> Tensor:
            return self.select(context, send(candidates, context.device), count)

        return self.within_budget(self.groups(context), choose)

    def groups(self, context: PruningContext) -> Tensor:
        """The part that every visual token belongs to, of those that have a share of the budget each, [n]."""
        return context.tile_group if self.budget == "per_tile" else context.budget_group

    def within_budget(self, group: Tensor, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        """What ``choose(candidates, count)`` keeps, asked as often as the budget has shares; ascending.

        group: the image, tile or frame of every visual token, [n], on the CPU.
        """
        every = torch.arange(len(group))
        if exact_ratio(self.pruning_ratio) == 0:
            return every
        shares = [every] if self.budget == "pooled" else [every[group == i] for i in group.unique()]
        chosen = []
        for candidates in shares:
            count = self.count(len(candidates))
            picked = candidates if count == len(candidates) else choose(candidates, count)
            if len(picked) != count:
                raise AssertionError(f"{self!r} chose {len(picked)} tokens; the budget is {count}.")
            chosen.append(picked)
        # A share that stays whole never left the CPU, and the others lie where they were chosen.
        device = next((picked.device for picked in chosen if picked.device.type != "cpu"), every.device)
        parts = [send(picked, device) for picked in chosen]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).sort().values

    @property
    def inactive(self) -> bool:
        """True if nothing would be removed whatever the prompt."""
        return exact_ratio(self.pruning_ratio) == 0

    def count(self, tokens: int) -> int:
        """Visual tokens kept of ``tokens``."""
        return kept_count(tokens, self.pruning_ratio, self.rounding)

    @contextmanager
    def attach(self, model: nn.Module, processor: Any = None) -> Iterator[Pruner]:
        """Inside this context ``model.generate`` prunes; see :func:`hawk.pruning.attach.attach`."""
        with attach(self, model, processor):
            yield self

    @property
    def last(self) -> LastRun:
        """What happened in the last ``generate`` inside ``attach``; empty before the first.

        Whoever calls :func:`hawk.pruning.prompt.prune` reads ``last`` of what that returns.
        """
        return last_run(self)

    def settings(self) -> Mapping[str, Any]:
        """The fields, for the results."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.repr}


def highest(scores: Tensor, candidates: Tensor, count: int) -> Tensor:
    """The ``count`` candidates with the highest scores [n]; among equal ones the lower positions."""
    order = torch.sort(scores[candidates], descending=True, stable=True).indices
    return candidates[order[:count]]
