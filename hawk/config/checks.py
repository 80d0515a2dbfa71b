"""What a config's schema cannot say, checked before any job starts. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawk import benchmarks
from hawk.benchmarks import require_data_file
from hawk.config.queries import subset_benchmarks, weights_subset
from hawk.config.recipes import check_recipes
from hawk.config.variant_checks import check_variant, weights_of_file
from hawk.core.errors import InputError, unknown
from hawk.core.shipped import resolve
from hawk.core.values import mapping, read_json, shown
from hawk.core.yaml_places import Places
from hawk.pruning.options import facts, with_scorers

# Rows of the tables that are no variants: one of that name would get their scores.
RESERVED_NAMES = ("baseline", "majority", "overall", "unpruned")


def check(config: dict[str, Any], where: str | Places = "config") -> dict[str, Any]:
    """What the schema cannot say. Returns the config."""
    try:
        _check_benchmarks(config)
        _check_attention(config)
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


def _check_attention(config: dict[str, Any]) -> None:
    model = config["model"]
    if model["attention"] in ("flash_attention_2", "varlen") and model["dtype"] == "float32":
        raise InputError(
            f"model.attention: {model['attention']!r} computes in bfloat16 or float16; model.dtype is "
            "'float32'."
        )


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
        check_variant(config, variant)
        _check_subsets(config, variant)
    _check_published(config)
    reference_variant = evaluation.get("reference")
    if reference_variant is not None and reference_variant not in names:
        raise unknown("evaluation.reference (a variant's name)", reference_variant, names)
    _check_hypotheses(evaluation, names)


def _check_hypotheses(evaluation: Mapping[str, Any], names: list[str]) -> None:
    for number, hypothesis in enumerate(evaluation["hypotheses"], 1):
        where = f"evaluation.hypotheses, number {number}:"
        for key in ("variant", "against"):
            if hypothesis[key] not in names:
                raise unknown(f"{where} {key} (a variant's name)", hypothesis[key], names)
        if hypothesis["variant"] == hypothesis["against"]:
            raise InputError(f"{where} {hypothesis['variant']!r} is compared with itself.")
        for key, word in (("ratios", "ratio"), ("benchmarks", "benchmark")):
            for value in hypothesis.get(key, ()):
                if value not in evaluation[key]:
                    raise unknown(f"{where} {word} (one of evaluation.{key})", value, evaluation[key])


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


def _check_cost(config: dict[str, Any]) -> None:
    cost, evaluation = config["cost"], config["evaluation"]
    names = [variant["name"] for variant in evaluation["variants"]]
    for name in cost["variants"] or ():
        if name not in names:
            raise unknown("variant in cost.variants", name, names)
    if cost["benchmark"] not in (None, *evaluation["benchmarks"]):
        raise unknown("cost.benchmark", cost["benchmark"], evaluation["benchmarks"])


def _check_model_folder(config: dict[str, Any]) -> None:
    """Layers, heads and methods against the model's own config.json, where the model is a folder here."""
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
    for variant in config["evaluation"]["variants"]:
        families = facts(variant["method"]).families
        if families and model_config.get("model_type") not in families:
            raise InputError(
                f"evaluation.variants, {variant['name']!r}: {variant['method']} works on "
                f"{', '.join(families)}; {file} says {shown(model_config.get('model_type'))}."
            )
        for entry in with_scorers(variant):
            weights = weights_of_file(config, entry)
            measured = None if weights is None else weights.model.get("family")
            if measured not in (None, model_config.get("model_type")):
                raise InputError(
                    f"evaluation.variants, {variant['name']!r}: weights {entry['weights']!r} were measured "
                    f"on a {measured!r} model; {file} says {shown(model_config.get('model_type'))}."
                )
