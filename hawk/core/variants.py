"""The words of a variant, which config, steps and tables share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hawk.core.errors import InputError

# Options of the token score, in ``scoring`` and in ablations that choose tokens, and as hawk.Hawk has them.
TOKEN_SCORE = {
    "normalization": "token_score_normalization",
    "reduction": "text_reduction",
    "rope": "rope",
    "query_span": "query_span",
}
# The first of each is hawk.Hawk's default.
TOKEN_SCORE_VALUES: dict[str, tuple[str | bool, ...]] = {
    "normalization": ("l2", "softmax", "minmax", "standardize", "none"),
    "reduction": ("mean", "attention", "informed", "max"),
    "rope": (False, True),
    "query_span": ("instruction", "after_vision", "authors", "last_token"),
}
# One rule for all variants of a comparison; keys of ``evaluation``, never of a variant.
COMPARISON_KEYS = ("rounding", "budget", "position_policy")
# Keys of a variant that are no options of its method.
VARIANT_KEYS = {"name", "method", "weights", "permute", "seeds", "shuffle_query"}

# ``query`` of hawk and of a weights recipe: the mean query of the calibration questions, not the prompt's.
CALIBRATED = "calibrated"
# ``query_span`` of hawk: the prompt's last token, which is no word of the question.
LAST_TOKEN = "last_token"


def require_calibrated_query(has_query: bool, rope: bool, reduction: str, prior: bool = False) -> None:
    """What ``query: calibrated`` needs, in Python and in a config alike."""
    if not has_query:
        raise InputError(
            "query 'calibrated' needs head weights with a mean query; these have none. A recipe of "
            "weights.recipes with query: calibrated measures it."
        )
    if rope:
        raise InputError("query 'calibrated' needs rope false: the mean query stands at no position.")
    if prior:
        raise InputError(
            "query 'calibrated' needs prior false: a prior is compared with the prompt's question."
        )
    if reduction != "mean":
        raise InputError(
            f"query 'calibrated' needs the text reduction 'mean', not {reduction!r}: one query per head."
        )


def require_question(query_span: str, prior: bool, shuffled: bool) -> None:
    """What ``query_span: last_token`` cannot be with: it reads no word of the question."""
    if query_span != LAST_TOKEN:
        return
    if prior:
        raise InputError(
            "query_span 'last_token' needs prior false: a prior is compared with the prompt's question."
        )
    if shuffled:
        raise InputError(
            "shuffle_query changes nothing with query_span 'last_token', which reads no word of the question."
        )


def ablation_names(recipe: Mapping[str, Any]) -> list[str]:
    """The ablations that a weights recipe names: one, or all between whose layers it chooses."""
    named = recipe["ablation"]
    return [named] if isinstance(named, str) else list(named)


def uniform_recipes(recipes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the weights recipes that give every head the same."""
    return [recipe["name"] for recipe in recipes if recipe["normalization"] == "uniform"]


def with_uniform(variant: Mapping[str, Any], sources: Collection[str]) -> Mapping[str, Any]:
    """The variant, or the scorer in it, with uniform weights where its own are one of ``sources``."""
    if variant.get("weights") in sources:
        return {**variant, "weights": "uniform"}
    scorer = variant.get("scorer")
    return {**variant, "scorer": with_uniform(scorer, sources)} if isinstance(scorer, Mapping) else variant


def weight_source(variant: Mapping[str, Any]) -> Any:
    """``weights`` of the variant, or of the scorer it combines (MMR and the like)."""
    scorer = variant.get("scorer")
    return variant.get("weights", scorer.get("weights") if isinstance(scorer, Mapping) else None)
