"""From a variant in the config to a pruner: which method, which weights, which seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hawk.config.queries import own_weights, scoring_layer, token_score_options
from hawk.config.recipes import chooses_layer, weights_named
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, weights_of_run
from hawk.core.heads import Geometry
from hawk.core.variants import COMPARISON_KEYS, TOKEN_SCORE, VARIANT_KEYS
from hawk.pruning import pruner
from hawk.pruning.base import Pruner
from hawk.pruning.options import any_fact, facts, require_other_question, with_scorers


def build(
    config: Mapping[str, Any],
    variant: Mapping[str, Any],
    ratio: object,
    seed: int,
    geometry: Geometry,
    weights_path: str | None = None,
) -> Pruner:
    """The pruner of a variant at one ratio and seed, under the comparison's rules for all.

    weights_path is the run's own weight file where ``variant.weights`` names a weights recipe, or
    where that of the scorer does which a variant combines with something else.
    """
    require_other_question(variant)
    options = _options(config, variant, seed, geometry, weights_path)
    scorer = options.get("scorer")
    if isinstance(scorer, Mapping) and "method" in scorer:
        inner = {"name": f"{variant['name']}: scorer", **scorer}
        inner_options = _options(config, inner, seed, geometry, weights_path)
        options["scorer"] = pruner(scorer["method"], **inner_options)
    return pruner(variant["method"], **{**comparison_rules(config), **options}, pruning_ratio=ratio)


def comparison_rules(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rounding, budget and position policy, which all variants of a comparison share."""
    evaluation = config.get("evaluation", {})
    return {key: evaluation[key] for key in COMPARISON_KEYS if key in evaluation}


def _options(
    config: Mapping[str, Any],
    variant: Mapping[str, Any],
    seed: int,
    geometry: Geometry,
    weights_path: str | None,
) -> dict[str, Any]:
    """A method's own options, with what the run decides: weights, token score, seed."""
    options = {key: value for key, value in variant.items() if key not in VARIANT_KEYS}
    method = facts(variant["method"])
    score = {**token_score_options(config["scoring"]), "layer": config["scoring"]["layer"]}
    if method.takes_weights:
        weights = load_weights(config, variant, geometry, weights_path)
        options["weights"] = permuted(weights, seed) if variant.get("permute") else weights
        del score["layer"]  # the weights say of which layer they are, and that was checked
        # Weights are used as they were made, with a token score of their own ablation or of another run.
        score |= {TOKEN_SCORE[key]: value for key, value in weights.token_score.items()}
    if method.seeded:
        options["seed"] = seed
    return {**{key: score[key] for key in method.takes_scoring if key in score}, **options}


def token_score_of(pruner: Pruner) -> dict[str, Any]:
    """The token score that a pruner, or the scorer in it, really uses; empty where it has none."""
    for candidate in (pruner, getattr(pruner, "scorer", None)):
        token_score = {key: getattr(candidate, option, None) for key, option in TOKEN_SCORE.items()}
        if None not in token_score.values():
            return token_score
    return {}


def weights_sha256(pruner: Pruner) -> str | None:
    """Of the head weights of a pruner, or of the scorer in it; None where it has none."""
    for candidate in (pruner, getattr(pruner, "scorer", None)):
        weights = getattr(candidate, "weights", None)
        if isinstance(weights, HeadWeights):
            return weights.sha256
    return None


def needs_tower(variant: Mapping[str, Any]) -> bool:
    """Whether a variant, or the scorer in it, looks at images and not at stored features."""
    chosen = [(entry, facts(entry["method"]).uses_tower_with) for entry in with_scorers(variant)]
    return any_fact(variant, "uses_tower") or any(
        entry.get(option[0]) in option[1:] if option[1:] else entry.get(option[0]) is not None
        for entry, option in chosen
        if option
    )


def load_weights(
    config: Mapping[str, Any], variant: Mapping[str, Any], geometry: Geometry, path: str | None
) -> HeadWeights:
    """Uniform, of this run, or from a file, a shipped name or the Hub; checked against the model."""
    source = variant.get("weights", "uniform")
    layer = scoring_layer(config, variant)
    if source == "uniform":
        return HeadWeights.uniform(geometry, layer)
    if source in own_weights(config):
        if path is None:
            raise InputError(f"variant {variant['name']!r} needs the run's {source!r} weight file.")
        weights = weights_of_run(path)
        if chooses_layer(weights_named(config, source)) and variant.get("layer") is None:
            layer = weights.layer
    else:
        weights = HeadWeights.load(source)
    weights.check(geometry)
    if weights.layer != layer:
        raise InputError(
            f"variant {variant['name']!r}: its weights are of heads in layer {weights.layer}, and tokens are "
            f"scored in layer {layer} (scoring.layer, or layer of the variant)."
        )
    return weights


def permuted(weights: HeadWeights, seed: int) -> HeadWeights:
    """The same weights on other heads: the control for "which head" against "how unequal"."""
    order = np.random.default_rng([seed, len(weights.weights)]).permutation(len(weights.weights))
    return replace(weights, weights=tuple(weights.weights[i] for i in order), per_benchmark={})
