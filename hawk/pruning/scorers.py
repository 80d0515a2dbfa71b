"""A pruner inside a pruner: methods that combine any token score with diversity or coverage."""

from __future__ import annotations

from collections.abc import Mapping

from hawk.core.errors import InputError
from hawk.pruning import REGISTRY, pruner, pruner_class
from hawk.pruning.base import Pruner


def as_scorer(scorer: object, owner: str) -> Pruner:
    """A pruner with token scores, from itself or from its config ``{method: …, options}``."""
    if isinstance(scorer, Mapping):
        options = dict(scorer)
        if "method" not in options:
            raise InputError(f"{owner}: scorer {dict(scorer)!r} has no key 'method'.")
        scorer = pruner(options.pop("method"), **options)
    if not isinstance(scorer, Pruner) or type(scorer).scores is Pruner.scores:
        have = [name for name in sorted(REGISTRY) if _scores(name)]
        raise InputError(
            f"{owner}: scorer must be a method with a score for every token, not {scorer!r}. "
            f"Such are: {', '.join(have)}."
        )
    return scorer


def _scores(method: str) -> bool:
    return pruner_class(method).scores is not Pruner.scores
