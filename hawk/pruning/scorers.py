"""A pruner inside a pruner: methods that combine any token score with diversity or coverage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family
from hawk.pruning import pruner
from hawk.pruning.base import Pruner
from hawk.pruning.options import scorer_methods


@dataclass(frozen=True)
class Combined(Pruner):
    """Base of methods that combine a scorer with something else.

    Parameters
    ----------
    scorer : Pruner, mapping or None
        A pruner with a score for every token, or its config ``{method: ..., options}``.

    The method's facts say what holds without a scorer; an instance's say what holds with its own.
    """

    scorer: Any = None

    scorer_name: ClassVar[str] = ""  # of the method, for messages
    needs_scorer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scorer is None and not self.needs_scorer:
            return
        object.__setattr__(self, "scorer", as_scorer(self.scorer, self.scorer_name))
        for fact in ("uses_query", "reads_other_question", "uses_tower", "uses_relevant"):
            object.__setattr__(self, fact, getattr(self, fact) or getattr(self.scorer, fact))

    def check(self, model: nn.Module, family: Family) -> None:
        if self.scorer is not None:
            self.scorer.check(model, family)

    def watch(self, model: nn.Module, family: Family) -> AbstractContextManager[list[Tensor]]:
        return super().watch(model, family) if self.scorer is None else self.scorer.watch(model, family)


def as_scorer(scorer: object, owner: str) -> Pruner:
    """A pruner with token scores, from itself or from its config ``{method: …, options}``."""
    if isinstance(scorer, Mapping):
        options = dict(scorer)
        if "method" not in options:
            raise InputError(f"{owner}: scorer {dict(scorer)!r} has no key 'method'.")
        scorer = pruner(options.pop("method"), **options)
    if not isinstance(scorer, Pruner) or type(scorer).scores is Pruner.scores:
        raise InputError(
            f"{owner}: scorer must be a method with a score for every token, not {scorer!r}. "
            f"Such are: {', '.join(scorer_methods())}."
        )
    return scorer
