"""What a config's schema cannot say, checked before any job starts. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawk import benchmarks, pruning
from hawk.benchmarks import require_data_file
from hawk.config.queries import own_weights, subset_benchmarks, weights_subset
from hawk.config.recipes import (
    ablation_named,
    check_recipes,
    has_query,
    token_score_of_weights,
    weights_named,
)
from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import HeadWeights, shipped
from hawk.core.shipped import resolve
from hawk.core.values import choice, mapping, read_json, refuse, shown, text
from hawk.core.variants import (
    CALIBRATED,
    COMPARISON_KEYS,
    TOKEN_SCORE,
    VARIANT_KEYS,
    require_calibrated_query,
)
from hawk.core.yaml_places import Places
from hawk.pruning.options import check_option, facts, require_other_question, varies_by_seed

# Rows of the tables that are no variants: one of that name would get their scores.
RESERVED_NAMES = ("baseline", "majority", "overall", "unpruned")


def check(config: dict[str, Any], where: str | Places = "config") -> dict[str, Any]:
    """What the schema cannot say. Returns the config."""
    try:
        _check_benchmarks(config)
        _check_preprocessing(config)
        _check_ablation(config)
        _check_evaluation(config)
        _check_cost(config)
        _check_model_folder(config)
    except InputError as error:
        place = where.of_message(str(error)) if isinstance(where, Places) else where
        raise InputError(f"{place}: {error}") from None
    return config


def _check_benchmarks(config: dict[str, Any]) -> None:
    known = [*benchmarks.REGISTRY, *config["data"]]
    for section in ("calibration", "evaluation"):
        for name in config[section]["benchmarks"]:
            if name not in known:
                raise unknown(f"benchmark in {section}.benchmarks:", name, known)
    for name, options in config["data"].items():  # used or not: a step that asks all of them stops late
        try:
            require_data_file(benchmarks.benchmark(name, options))
        except ModuleNotFoundError:  # where the workflow is only parsed; its jobs have the libraries
            continue
        except InputError as error:
            named = str(error).startswith("data.")
            raise error if named else InputError(f"data.{name}: {error}") from None


def _check_preprocessing(config: dict[str, Any]) -> None:
    low, high = (config["preprocessing"][key] for key in ("min_pixels", "max_pixels"))
    if low is not None and high is not None and low > high:
        raise InputError(f"preprocessing: min_pixels {low} is larger than max_pixels {high}.")


def _check_ablation(config: dict[str, Any]) -> None:
    model, ablation, layer = config["model"], config["ablation"], config["scoring"]["layer"]
    if layer >= model["layers"]:
        raise InputError(f"scoring.layer: {layer} is outside model.layers, 0-{model['layers'] - 1}.")
    if ablation["heads"] != "all":
        for value in ablation["heads"]:
            if value >= model["heads"]:
                raise InputError(f"ablation.heads: {value} is outside model.heads, 0-{model['heads'] - 1}.")
    check_recipes(config)


def _check_evaluation(config: dict[str, Any]) -> None:
    evaluation = config["evaluation"]
    names = [variant["name"] for variant in evaluation["variants"]]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"evaluation.variants: the name {doubled[0]!r} is used more than once.")
    for name in names:
        if name in RESERVED_NAMES:
            raise InputError(
                f"evaluation.variants: the name {name!r} is taken; tables have rows of their own called "
                f"{', '.join(RESERVED_NAMES)}. Any other name is allowed."
            )
    for key, ratios in (
        ("evaluation.ratios", evaluation["ratios"]),
        ("cost.ratios", config["cost"]["ratios"] or []),
    ):
        for ratio in ratios:
            if round(ratio * 10_000) / 10_000 != ratio:
                raise InputError(f"{key}: {ratio!r} has more than four decimals.")
    _check_holdout(config)
    for variant in evaluation["variants"]:
        _check_variant(config, variant)
        _check_subsets(config, variant)
    _check_published(config)
    reference_variant = evaluation.get("reference")
    if reference_variant is not None and reference_variant not in names:
        raise unknown("evaluation.reference (a variant's name)", reference_variant, names)


def _check_published(config: dict[str, Any]) -> None:
    evaluation = config["evaluation"]
    rows = ["baseline", *(variant["name"] for variant in evaluation["variants"])]
    # Known ones only, not evaluated ones: the paper's numbers may stay where benchmarks are left out.
    known = [*benchmarks.REGISTRY, *config["data"], "overall"]
    for row, ratios in evaluation["published"].items():
        if row not in rows:
            raise unknown(
                "row in evaluation.published, as {variant: {ratio: {benchmark: value}}}:", row, rows
            )
        for ratio, values in ratios.items():
            for name in values:
                if name not in known:
                    raise unknown(f"benchmark in evaluation.published, {row!r}, {ratio!r}:", name, known)


def _check_holdout(config: dict[str, Any]) -> None:
    """Only disjoint roles set images apart for development; a run that uses them keeps them aside."""
    role, holdout = config["evaluation"]["role"], config["calibration"]["holdout"]
    if role == "development" and holdout != "disjoint":
        raise InputError(
            f"evaluation.role: 'development' needs calibration.holdout 'disjoint', not {holdout!r}, under "
            "which the images of development are those of evaluation."
        )
    config["evaluation"]["development"] |= role == "development"


def _check_subsets(config: dict[str, Any], variant: Mapping[str, Any]) -> None:
    """A benchmark left out must leave some to calibrate on; else that is said after the whole ablation."""
    if config["calibration"]["holdout"] != "leave_one_benchmark_out":
        return

    for name in config["evaluation"]["benchmarks"]:
        wanted = weights_subset(config, variant, name)
        if wanted is not None:
            try:
                subset_benchmarks(config, wanted[1])
            except InputError as error:
                raise InputError(
                    f"evaluation.variants, {variant['name']!r}, on benchmark {name!r}: {error}"
                ) from None


def _check_weights_exist(config: dict[str, Any], where: str, source: str) -> None:
    """A source that :meth:`hawk.core.head_weights.HeadWeights.load` would refuse without asking the Hub."""
    hub_id = (
        source.count("/") == 1 and not source.startswith((".", "~", "/")) and Path(source).suffix != ".json"
    )
    if not hub_id and source not in shipped() and not Path(resolve(source)).is_file():
        allowed = ["uniform", *own_weights(config), *shipped()]
        raise unknown(
            f"weights in {where} (no name in weights.recipes, no file, and no Hub id user/repo):",
            source,
            allowed,
        )
    if hub_id and not Path(resolve(source)).is_file():
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


def _check_calibrated(config: Mapping[str, Any], where: str, variant: Mapping[str, Any]) -> None:
    """A calibrated query of weights that hold none, or under a token score that it does not fit."""
    source, score, has = variant.get("weights", "uniform"), dict(config["scoring"]), False
    if source in own_weights(config):
        has = has_query(config, source)
        ablation = ablation_named(config, weights_named(config, source)["ablation"])
        score = token_score_of_weights(config, ablation)
    elif source in shipped() or Path(resolve(source)).is_file():
        weights = HeadWeights.load(source)
        has, score = weights.mean_query is not None, score | dict(weights.token_score)
    elif source != "uniform":
        has = True  # of the Hub: seen once it is loaded
    rope, reduction = (variant.get(TOKEN_SCORE[key], score[key]) for key in ("rope", "reduction"))
    try:
        require_calibrated_query(has, rope, reduction, variant.get("prior", False))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_cost(config: dict[str, Any]) -> None:
    cost, evaluation = config["cost"], config["evaluation"]
    names = [variant["name"] for variant in evaluation["variants"]]
    for name in cost["variants"] or ():
        if name not in names:
            raise unknown("variant in cost.variants", name, names)
    if cost["benchmark"] not in (None, *evaluation["benchmarks"]):
        raise unknown("cost.benchmark", cost["benchmark"], evaluation["benchmarks"])


def _check_variant(config: dict[str, Any], variant: Mapping[str, Any]) -> None:
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
    if known.takes_weights and variant.get("query") == CALIBRATED:
        _check_calibrated(config, where, variant)
    scorer = variant.get("scorer")
    if isinstance(scorer, Mapping) and "method" in scorer:
        for key in ("seeds", "shuffle_query"):
            if key in scorer:
                raise InputError(f"{where}: {key} belongs to the variant, beside its scorer and not in it.")
        _check_variant(config, {"name": f"{variant['name']}: scorer", **scorer})
    require_other_question(variant)
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


def _check_model_folder(config: dict[str, Any]) -> None:
    """Layers and heads against the model's own config.json, where the model is a folder here."""
    model = config["model"]
    folder = Path(resolve(model["path"]))
    if not folder.is_dir():
        if model["path"].startswith((".", "/", "~", "data/")) or model["path"].count("/") != 1:
            raise InputError(f"model.path: there is no folder {model['path']!r}.")
        return
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"model.path: {model['path']!r} has no config.json; it is no model folder.")
    model_config = mapping(read_json(file, "a model's config"), f"model.path: {file}")
    text_config = mapping(model_config.get("text_config", model_config), f"model.path: {file}: text_config")
    for key, name in (("layers", "num_hidden_layers"), ("heads", "num_attention_heads")):
        if name in text_config and text_config[name] != model[key]:
            raise InputError(f"model.{key} is {model[key]}, but {file} says {name} {text_config[name]}.")
