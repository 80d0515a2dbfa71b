"""Read and check a run's config: schema, defaults, and what a schema cannot say. No torch here.

The Snakefile checks the whole file at parse time, so a mistake fails before any job starts. Rules
hand each job the part of the config that it depends on, as inline JSON (see :func:`part`): that
text is the job's ``params``, and a change elsewhere re-runs nothing.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hawk import benchmarks, pruning
from hawk.errors import InputError, unknown
from hawk.heads import Head, head_table

SCHEMA = Path(__file__).parent.parent / "config" / "schemas" / "config.schema.yaml"
WEIGHT_SOURCES = ("zero", "mean", "selection")
# One rule for all variants of a comparison; keys of ``evaluation``, never of a variant.
# Options of the token score, in ``scoring``.
TOKEN_SCORE = ("normalization", "rope", "query_span")
COMPARISON_KEYS = ("rounding", "budget", "position_policy")
# Rows of the tables that are no variants: one of that name would get their scores.
RESERVED_NAMES = ("baseline", "majority", "overall", "unpruned")
# Keys of a variant that are no options of its method.
VARIANT_KEYS = {"name", "method", "weights", "permute", "seeds", "shuffle_query", "view"}


def load_config(source: str | Path) -> dict[str, Any]:
    """A config with defaults filled, from a YAML file or from inline JSON (a part of a config)."""
    text = str(source).strip()
    if text.startswith("{"):
        return fill(json.loads(text), "the inline config", partial=True)
    path = Path(text)
    if not path.is_file():
        raise InputError(f"config file {text!r}: there is no such file.")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected keys and values, found {type(raw).__name__}.")
    return check(fill(raw, str(path)), str(path))


@cache
def _schema() -> dict[str, Any]:
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def fill(raw: Mapping[str, Any], where: str, partial: bool = False) -> dict[str, Any]:
    """Check against the schema and fill its defaults. A partial config may lack whole sections."""
    import jsonschema

    config = deepcopy(dict(raw))
    schema = deepcopy(_schema())
    if partial:
        _drop_required(schema)
    else:
        _fill_defaults(config, schema)
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(config))
    if error is not None:
        raise InputError(f"{where}: {_explain(error)}")
    return config


def _drop_required(node: dict[str, Any]) -> None:
    node.pop("required", None)
    for child in node.get("properties", {}).values():
        _drop_required(child)


def _fill_defaults(config: dict[str, Any], schema: Mapping[str, Any]) -> None:
    for key, child in schema.get("properties", {}).items():
        if "default" in child and isinstance(config, dict) and config.get(key, ...) is ...:
            config[key] = deepcopy(child["default"])
        if isinstance(config.get(key), dict) and "properties" in child:
            _fill_defaults(config[key], child)


def _explain(error: Any) -> str:
    """A schema error in words: the key, the value, what is allowed."""
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        extra = sorted(set(error.instance) - set(allowed))
        near = difflib.get_close_matches(extra[0], allowed, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        full = f"{key}.{extra[0]}" if key else extra[0]
        return f"unknown key {full!r}.{hint} Allowed here: {', '.join(allowed)}."
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"the key {'.'.join(filter(None, [key, missing[0]]))!r} is missing."
    wanted = error.schema.get("description", "")
    return f"{key}: {error.message}.{' ' + wanted if wanted else ''}"


def check(config: dict[str, Any], where: str = "config") -> dict[str, Any]:
    """What the schema cannot say. Returns the config."""
    try:
        _check_benchmarks(config)
        _check_ablation(config)
        _check_evaluation(config)
        _check_cost(config)
        _check_model_folder(config)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return config


def _check_benchmarks(config: dict[str, Any]) -> None:
    known = [*benchmarks.REGISTRY, *config["data"]]
    for section in ("calibration", "evaluation"):
        for name in config[section]["benchmarks"]:
            if name not in known:
                raise unknown(f"benchmark in {section}.benchmarks:", name, known)


def _check_ablation(config: dict[str, Any]) -> None:
    model, ablation, layer = config["model"], config["ablation"], config["scoring"]["layer"]
    if layer >= model["layers"]:
        raise InputError(f"scoring.layer: {layer} is outside model.layers, 0-{model['layers'] - 1}.")
    for value in ablation["layers"]:
        if value >= model["layers"]:
            raise InputError(f"ablation.layers: {value} is outside model.layers, 0-{model['layers'] - 1}.")
    if ablation["heads"] != "all":
        for value in ablation["heads"]:
            if value >= model["heads"]:
                raise InputError(f"ablation.heads: {value} is outside model.heads, 0-{model['heads'] - 1}.")
    if "selection" in ablation["interventions"] and ablation["layers"] != [layer]:
        raise InputError(
            f"ablation.interventions: 'selection' exists only at scoring.layer ({layer}), but "
            f"ablation.layers is {ablation['layers']}. Run other layers with 'zero' or 'mean' only."
        )


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
    for ratio in evaluation["ratios"]:
        if round(ratio * 10_000) / 10_000 != ratio:
            raise InputError(f"evaluation.ratios: {ratio!r} has more than four decimals.")
    _check_holdout(config)
    for variant in evaluation["variants"]:
        _check_variant(config, variant)
        _check_subsets(config, variant)
    # Known ones only, not evaluated ones: the paper's numbers may stay where benchmarks are left out.
    known = [*benchmarks.REGISTRY, *config["data"], "overall"]
    for ratio, values in evaluation["published"].items():
        for name in values:
            if name not in known:
                raise unknown(f"benchmark in evaluation.published, {ratio!r}:", name, known)
    reference = evaluation.get("reference")
    if reference is not None and reference not in names:
        raise unknown("evaluation.reference (a variant's name)", reference, names)


def _check_holdout(config: dict[str, Any]) -> None:
    """Only disjoint roles set images apart for development."""
    role, holdout = config["evaluation"]["role"], config["calibration"]["holdout"]
    if role == "development" and holdout != "disjoint":
        raise InputError(
            f"evaluation.role: 'development' needs calibration.holdout 'disjoint', not {holdout!r}, under "
            "which the images of development are those of evaluation."
        )


def _check_subsets(config: dict[str, Any], variant: Mapping[str, Any]) -> None:
    """A benchmark left out must leave some to calibrate on; else that is said after the whole ablation."""
    if config["calibration"]["holdout"] != "leave_one_benchmark_out":
        return
    from hawk.calibrate import subset_benchmarks  # imports this module, and pandas

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
    """A source that :meth:`hawk.weights.HeadWeights.load` would refuse without asking the Hub."""
    from hawk.weights import shipped

    hub_id = (
        source.count("/") == 1 and not source.startswith((".", "~", "/")) and Path(source).suffix != ".json"
    )
    if not hub_id and source not in shipped() and not Path(source).is_file():
        allowed = ["uniform", *config["ablation"]["interventions"], *shipped()]
        raise unknown(f"weights in {where} (no file, and no Hub id user/repo):", source, allowed)


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
    method = variant["method"]
    if method not in pruning.REGISTRY:
        raise unknown(f"method in {where}:", method, pruning.REGISTRY)
    allowed = [name for name in option_names(method) if name not in COMPARISON_KEYS]
    for key in variant:
        if key in COMPARISON_KEYS:
            raise InputError(
                f"{where}: {key} is the same for all variants of a comparison; set evaluation.{key} instead."
            )
        if key not in VARIANT_KEYS and key not in allowed:
            raise unknown(f"key in {where}:", key, [*VARIANT_KEYS, *allowed])
    weights = variant.get("weights")
    if weights is not None and method != "hawk":
        raise InputError(f"{where}: weights belong to method hawk, not to {method!r}.")
    if variant.get("permute") and method != "hawk":
        raise InputError(
            f"{where}: permute shuffles the weights of method hawk, not of {method!r}; where a scorer "
            "has them, write it into the scorer, as {method: hawk, weights: ..., permute: true}."
        )
    if weights in WEIGHT_SOURCES:
        if weights not in config["ablation"]["interventions"]:
            raise InputError(
                f"{where}: weights {weights!r} need that intervention in ablation.interventions, "
                f"which are {config['ablation']['interventions']}."
            )
        if config["scoring"]["layer"] not in config["ablation"]["layers"]:
            raise InputError(
                f"{where}: weights come from scoring.layer {config['scoring']['layer']}, which "
                f"ablation.layers {config['ablation']['layers']} do not include."
            )
        if config["ablation"]["heads"] != "all":
            raise InputError(f"{where}: head weights need every head; ablation.heads must be all.")
    elif weights not in (None, "uniform"):
        _check_weights_exist(config, where, weights)
    scorer = variant.get("scorer")
    if isinstance(scorer, Mapping) and "method" in scorer:
        for key in ("seeds", "shuffle_query"):
            if key in scorer:
                raise InputError(f"{where}: {key} belongs to the variant, beside its scorer and not in it.")
        _check_variant(config, {"name": f"{variant['name']}: scorer", **scorer})


def option_names(method: str) -> list[str]:
    """A method's fields, read from its source: importing it would import torch."""
    module, _, cls = pruning.REGISTRY[method].partition(":")
    names = _fields(module, cls)
    return [name for name in names if not name.startswith("_") and name != "pruning_ratio"]


@cache
def _fields(module: str, cls: str) -> list[str]:
    root = Path(__file__).parent.parent
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls)
    names: list[str] = []
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in imported:
            source, name = imported[base.id]
            names += _fields(source, name) if source.startswith("hawk.") else []
        elif isinstance(base, ast.Name) and base.id not in ("ABC", "object"):
            names += _fields(module, base.id)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if "ClassVar" not in ast.unparse(statement.annotation):
                names.append(statement.target.id)
    return names


def _check_model_folder(config: dict[str, Any]) -> None:
    """Layers and heads against the model's own config.json, where the model is a folder here."""
    model = config["model"]
    folder = Path(model["path"])
    if not folder.is_dir():
        if model["path"].startswith((".", "/", "~", "data/")) or model["path"].count("/") != 1:
            raise InputError(f"model.path: there is no folder {model['path']!r}.")
        return
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"model.path: {model['path']!r} has no config.json; it is no model folder.")
    own = json.loads(file.read_text(encoding="utf-8"))
    text = own.get("text_config", own)
    for key, name in (("layers", "num_hidden_layers"), ("heads", "num_attention_heads")):
        if name in text and text[name] != model[key]:
            raise InputError(f"model.{key} is {model[key]}, but {file} says {name} {text[name]}.")


# --- what the workflow asks ------------------------------------------------------------------------


def ablated_heads(config: Mapping[str, Any]) -> list[Head]:
    """The heads whose drops this run measures, layer by layer."""
    heads = config["ablation"]["heads"]
    every = head_table(config["ablation"]["layers"], config["model"]["heads"])
    return every if heads == "all" else [head for head in every if head.index in heads]


def weights_path(variant: Mapping[str, Any]) -> str | None:
    """The weights file that a variant, or its scorer, gives by path: an input of its evaluation."""
    from hawk.weights import shipped

    source = weight_source(variant)
    own = source not in (None, "uniform", *WEIGHT_SOURCES) and source not in shipped()
    return source if own and Path(source).is_file() else None


def variant_named(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    variants = {variant["name"]: variant for variant in config["evaluation"]["variants"]}
    if name not in variants:
        raise unknown("variant", name, variants)
    return variants[name]


def part(config: Mapping[str, Any], *keys: str) -> str:
    """The named parts of a config as one line of JSON; ``"a.b"`` takes only key b of section a."""
    out: dict[str, Any] = {}
    for key in keys:
        section, _, name = key.partition(".")
        if section not in config:
            continue
        if name:
            if name in config[section]:
                out.setdefault(section, {})[name] = config[section][name]
        elif section == "ablation":
            # How heads are spread over jobs changes no result and must re-run nothing.
            out[section] = {k: v for k, v in config[section].items() if k != "heads_per_job"}
        else:
            out[section] = config[section]
    return json.dumps(out, sort_keys=True)


def weight_files(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(intervention, subset) of every weight file: pooled, and what the evaluation asks for."""
    ablation = config["ablation"]
    if ablation["heads"] != "all" or config["scoring"]["layer"] not in ablation["layers"]:
        return []

    def families(names: list[str]) -> set[str]:
        return {benchmarks.benchmark(name, config["data"].get(name)).family for name in names}

    calibrated = families(config["calibration"]["benchmarks"])
    subsets = ["pooled"]
    if len(calibrated) > 1:
        evaluated = families(config["evaluation"]["benchmarks"])
        subsets += [f"without-{family}" for family in sorted(calibrated | evaluated)]
    return [(intervention, subset) for intervention in ablation["interventions"] for subset in subsets]


def weights_subset(
    config: Mapping[str, Any], variant: Mapping[str, Any], name: str
) -> tuple[str, str] | None:
    """(intervention, subset) of the run's weight file that a variant uses on a benchmark, or None.

    Leaving one benchmark out leaves out its whole family: benchmarks that share images.
    """
    source = weight_source(variant)
    if source not in WEIGHT_SOURCES:
        return None
    if config["calibration"]["holdout"] != "leave_one_benchmark_out":
        return source, "pooled"
    return source, f"without-{benchmarks.benchmark(name, config['data'].get(name)).family}"


def weight_source(variant: Mapping[str, Any]) -> Any:
    """``weights`` of the variant, or of the scorer it combines (MMR and the like)."""
    scorer = variant.get("scorer")
    return variant.get("weights", scorer.get("weights") if isinstance(scorer, Mapping) else None)
