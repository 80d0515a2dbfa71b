"""Read a run's config, by its schema and with defaults, and answer what steps ask of it. No torch here.

The Snakefile checks the whole file at parse time, so a mistake fails before any job starts. Rules
hand each job the part of the config that it depends on, as inline JSON (see :func:`part`): that
text is the job's ``params``, and a change elsewhere re-runs nothing.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hawk import benchmarks
from hawk.errors import InputError, unknown
from hawk.heads import Head, head_table

SCHEMA = Path(__file__).parent.parent / "config" / "schemas" / "config.schema.yaml"
WEIGHT_SOURCES = ("zero", "mean", "selection")
# Options of the token score, in ``scoring``.
TOKEN_SCORE = ("normalization", "rope", "query_span")
# One rule for all variants of a comparison; keys of ``evaluation``, never of a variant.
COMPARISON_KEYS = ("rounding", "budget", "position_policy")
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
    from hawk.config_checks import check  # reads this module's constants

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
