"""From a variant in the config to a pruner: which method, which weights, which seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hawk.config.queries import COMPARISON_KEYS, VARIANT_KEYS, WEIGHT_SOURCES, token_score_options
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.pruning import pruner, pruner_class
from hawk.pruning.base import Pruner


def build(
    config: Mapping[str, Any],
    variant: Mapping[str, Any],
    ratio: object,
    seed: int,
    geometry: Geometry,
    weights_path: str | None = None,
) -> Pruner:
    """The pruner of a variant at one ratio and seed, under the comparison's rules for all.

    weights_path is the run's own weight file where ``variant.weights`` names an intervention, or
    where that of the scorer does which a variant combines with something else.
    """
    options = _options(config, variant, seed, geometry, weights_path)
    scorer = options.get("scorer")
    if isinstance(scorer, Mapping) and "method" in scorer:
        inner = {"name": f"{variant['name']}: scorer", **scorer}
        own = _options(config, inner, seed, geometry, weights_path)
        options["scorer"] = pruner(scorer["method"], **own)
    built = pruner(variant["method"], **{**comparison_rules(config), **options}, pruning_ratio=ratio)
    # FastV attends from the prompt itself, in which no other question can stand.
    if variant.get("shuffle_query") and (not built.uses_query or variant["method"] == "fastv"):
        raise InputError(
            f"variant {variant['name']!r}: shuffle_query changes nothing for method {variant['method']!r}, "
            "which reads no question apart from its prompt. Allowed for: hawk, hawk_signed, cdpruner, mmtok, "
            "and mmr or facility_location with hawk as their scorer."
        )
    return built


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
    if variant["method"] == "hawk":
        weights = load_weights(config, variant, geometry, weights_path)
        if variant.get("permute"):
            weights = permuted(weights, seed)
        options = {**token_score_options(config["scoring"]), **options, "weights": weights}
    elif variant["method"] == "random":
        options["seed"] = seed
    return options


def needs_tower(variant: Mapping[str, Any]) -> bool:
    """Whether a variant, or the scorer in it, looks at images and not at stored features."""
    scorer = variant.get("scorer")
    if isinstance(scorer, Mapping) and "method" in scorer and needs_tower(scorer):
        return True
    return pruner_class(variant["method"]).uses_tower is True


def load_weights(
    config: Mapping[str, Any], variant: Mapping[str, Any], geometry: Geometry, path: str | None
) -> HeadWeights:
    """Uniform, of this run, or from a file, a shipped name or the Hub; checked against the model."""
    source = variant.get("weights", "uniform")
    layer = variant.get("layer", config["scoring"]["layer"])
    if source == "uniform":
        return HeadWeights.uniform(geometry, layer)
    if source in WEIGHT_SOURCES:
        if path is None:
            raise InputError(f"variant {variant['name']!r} needs the run's {source!r} weight file.")
        source = path
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
    import numpy as np

    order = np.random.default_rng([seed, len(weights.weights)]).permutation(len(weights.weights))
    return replace(weights, weights=tuple(weights.weights[i] for i in order), per_benchmark={})
