"""Variants of a config, checked before any job starts: method, options, weights, query. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawk import benchmarks, pruning
from hawk.config.queries import own_weights
from hawk.config.recipes import ablation_named, has_query, token_score_of_weights, weights_named
from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import HeadWeights, shipped
from hawk.core.shipped import is_hub_id, resolve
from hawk.core.values import choice, refuse, shown, text
from hawk.core.variants import (
    CALIBRATED,
    COMPARISON_KEYS,
    TOKEN_SCORE,
    VARIANT_KEYS,
    require_calibrated_query,
    require_question,
)
from hawk.pruning.options import (
    check_option,
    facts,
    require_other_question,
    scorer_methods,
    varies_by_seed,
    with_scorers,
)


def check_variant(config: dict[str, Any], variant: Mapping[str, Any]) -> None:
    """Refuse a variant, or the scorer in it, that could not be built, or would not be what it says."""
    where = f"evaluation.variants, {variant['name']!r}"
    method = text(variant["method"], f"{where}: method")  # that of a scorer is not in the schema
    if variant.get("weights") is not None:
        text(variant["weights"], f"{where}: weights")
    if method not in pruning.REGISTRY:
        raise unknown(f"method in {where}:", method, pruning.REGISTRY)
    known = facts(method)
    allowed = [name for name in known.options if name not in (*COMPARISON_KEYS, "seed")]
    for key in variant:
        if key in COMPARISON_KEYS:
            raise InputError(
                f"{where}: {key} is the same for all variants of a comparison; set evaluation.{key} instead."
            )
        if key == "seed" and known.seeded:
            raise InputError(f"{where}: give seeds, how many there are; seed is then 0, 1, 2 and so on.")
        if key not in VARIANT_KEYS and key not in allowed:
            raise unknown(f"key in {where}:", key, {*VARIANT_KEYS, *allowed})
        if key in allowed and key != "weights":
            check_option(method, key, variant[key], where, config["model"]["layers"])
    for key, kind in (("permute", bool), ("shuffle_query", bool)):
        if key in variant and not isinstance(variant[key], kind):
            raise refuse(f"{where}: {key}", variant[key], "true or false")
    if "seed" in variant:
        raise InputError(f"{where}: method {method!r} draws nothing and takes no seed.")
    for key in COMPARISON_KEYS:
        if key in known.allowed:
            choice(config["evaluation"][key], f"{where}: evaluation.{key}", known.allowed[key])
    if known.needs_scorer and not isinstance(variant.get("scorer"), Mapping):
        raise refuse(
            f"{where}: scorer", variant.get("scorer"), "a method with its options, as {method: hawk}"
        )
    if isinstance(variant.get("scorer"), Mapping) and "method" not in variant["scorer"]:
        raise InputError(f"{where}: scorer {shown(dict(variant['scorer']))} names no method.")
    weights = variant.get("weights")
    weighted = ", ".join(name for name in pruning.REGISTRY if facts(name).takes_weights)
    if weights is not None and not known.takes_weights:
        raise InputError(f"{where}: weights belong to method {weighted}, not to {method!r}.")
    if variant.get("permute") and not known.takes_weights:
        raise InputError(
            f"{where}: permute shuffles the weights of method {weighted}, not of {method!r}; where a scorer "
            "has them, write it into the scorer, as {method: hawk, weights: ..., permute: true}."
        )
    if weights in own_weights(config):
        layer = variant.get("layer", config["scoring"]["layer"])
        ablation = ablation_named(config, weights_named(config, weights)["ablation"])
        if ablation["layer"] != layer:
            raise InputError(
                f"{where}: weights {weights!r} are of layer {ablation['layer']} (ablation "
                f"{ablation['name']!r}), and the variant scores tokens in layer {layer}."
            )
    elif weights not in (None, "uniform"):
        _check_weights_exist(config, where, weights)
    if known.takes_weights:
        _check_query(config, where, variant)
    scorer = variant.get("scorer")
    if isinstance(scorer, Mapping) and "method" in scorer:
        for key in ("seeds", "shuffle_query"):
            if key in scorer:
                raise InputError(f"{where}: {key} belongs to the variant, beside its scorer and not in it.")
        check_variant(config, {"name": f"{variant['name']}: scorer", **scorer})
        if scorer["method"] not in (allowed := scorer_methods()):
            raise InputError(
                f"{where}: scorer: method {scorer['method']!r} has no score for every token. Allowed: "
                f"{', '.join(allowed)}."
            )
    require_other_question(variant)
    if variant.get("shuffle_query"):
        for entry in with_scorers(variant):
            if facts(entry["method"]).takes_weights:
                _check_query(config, where, entry, shuffled=True)
    lacking = [
        name
        for name in config["evaluation"]["benchmarks"]
        if known.uses_relevant and not benchmarks.benchmark(name, config["data"].get(name)).knows_relevant
    ]
    if lacking:
        raise InputError(
            f"{where}: method {method!r} must be told where the asked object is, which samples of benchmark "
            f"{', '.join(map(repr, lacking))} do not know. Leave out the variant or the benchmark."
        )
    if variant.get("seeds", 1) > 1 and not varies_by_seed(variant):
        seeded = ", ".join(name for name in pruning.REGISTRY if facts(name).seeded)
        raise InputError(
            f"{where}: seeds {variant['seeds']} would measure the same thing as often; method {method!r} "
            f"draws nothing. Seeds are for {seeded}, and for permute and shuffle_query."
        )


def _check_weights_exist(config: dict[str, Any], where: str, source: str) -> None:
    """A source that :meth:`hawk.core.head_weights.HeadWeights.load` would refuse without asking the Hub."""
    hub_id = is_hub_id(source) and Path(source).suffix != ".json" and not os.path.isdir(resolve(source))
    if not hub_id and source not in shipped() and not os.path.isfile(resolve(source)):
        allowed = ["uniform", *own_weights(config), *shipped()]
        raise unknown(
            f"weights in {where} (no name in weights.recipes, no file, and no Hub id user/repo):",
            source,
            allowed,
        )
    if hub_id and not os.path.isfile(resolve(source)):
        return
    try:
        weights = HeadWeights.load(source)  # a file that cannot be used is told before any job
    except InputError as error:
        raise InputError(f"{where}: weights: {error}") from None
    model = config["model"]
    for key in ("layers", "heads"):
        if getattr(weights.geometry, key) != model[key]:
            raise InputError(
                f"{where}: weights {source!r} are of a model with {getattr(weights.geometry, key)} {key}; "
                f"model.{key} is {model[key]}."
            )


def _check_query(
    config: Mapping[str, Any], where: str, variant: Mapping[str, Any], shuffled: bool = False
) -> None:
    """A query that the weights do not hold, or that does not go with the rest of the token score.

    shuffled: the prompt's question is replaced by another one's.
    """
    has, score = _measured_for(config, variant)
    rope, reduction, span = (
        variant.get(TOKEN_SCORE[key], score[key]) for key in ("rope", "reduction", "query_span")
    )
    prior = variant.get("prior", False)
    try:
        if variant.get("query") == CALIBRATED:
            require_calibrated_query(has, rope, reduction, prior)
        else:
            require_question(span, prior, shuffled)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _measured_for(config: Mapping[str, Any], variant: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Whether a variant's weights hold a mean query, and the token score that they bring."""
    source, score = variant.get("weights", "uniform"), dict(config["scoring"])
    if source in own_weights(config):
        ablation = ablation_named(config, weights_named(config, source)["ablation"])
        return has_query(config, source), token_score_of_weights(config, ablation)
    if source in shipped() or os.path.isfile(resolve(source)):
        weights = HeadWeights.load(source)
        return weights.mean_query is not None, score | dict(weights.token_score)
    return source != "uniform", score  # of the Hub: seen once they are loaded
