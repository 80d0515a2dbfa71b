"""Read a run's config, by its schema and with defaults. No torch here.

The Snakefile checks the whole file at parse time, so a mistake fails before any job starts. Rules
hand each job the part of the config that its step declares to read, as inline JSON
(:mod:`hawk.config.declared`): that text is the job's ``params``, and a change elsewhere re-runs nothing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hawk.config.checks import check
from hawk.config.declared import ConfigSection
from hawk.config.recipes import expand, refuse_older
from hawk.core.errors import InputError
from hawk.core.shipped import config_file, shipped
from hawk.core.values import parse_json
from hawk.core.yaml_files import read_yaml
from hawk.core.yaml_places import Places

SCHEMA = shipped("config", "schemas", "config.schema.yaml")


def load_config(source: str | Path) -> dict[str, Any]:
    """A config with defaults filled, from a YAML file or from inline JSON (a part of a config)."""
    text = str(source).strip()
    if text.startswith("{"):
        raw = parse_json(text, "the inline config is not valid JSON")
        if not isinstance(raw, dict):
            raise InputError("the inline config is no JSON object.")
        return ConfigSection.of(fill(raw, "the inline config", partial=True))
    path = str(config_file(text))
    raw = read_yaml(path)
    places = Places([path], raw)
    return check(fill(raw, places), places)


@cache
def _schema() -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), Loader=loader)


@cache
def _validator() -> Any:
    """JSON Schema takes 2.0 for an integer and NaN for a number; a job would draw or count otherwise."""
    import jsonschema

    def is_integer(checker: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def is_number(checker: Any, value: Any) -> bool:
        return is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))

    base = jsonschema.Draft202012Validator
    strict = base.TYPE_CHECKER.redefine_many({"integer": is_integer, "number": is_number})
    return jsonschema.validators.extend(base, type_checker=strict)


def fill(raw: Mapping[str, Any], where: str | Places, partial: bool = False) -> dict[str, Any]:
    """Check against the schema, fill its defaults and complete the recipes.

    where: what messages call the config, or the places of its values.
    A partial config may lack whole sections, and is complete in what it has.
    """
    import jsonschema

    config = deepcopy(dict(raw))
    schema = deepcopy(_schema())
    if partial:
        _drop_required(schema)
    else:
        refuse_older(config, where)
        _fill_defaults(config, schema)
    error = jsonschema.exceptions.best_match(_validator()(schema).iter_errors(config))
    if error is not None:
        place = where.of(_place(error)) if isinstance(where, Places) else where
        raise InputError(f"{place}: {_explain(error)}")
    if not partial:
        expand(config)
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


def _place(error: Any) -> list[str | int]:
    """Where a schema error is: of an unknown key the key itself, of a missing one what lacks it."""
    path = list(error.absolute_path)
    return [*path, _unknown_keys(error)[0]] if error.validator == "additionalProperties" else path


def _unknown_keys(error: Any) -> list[str]:
    return sorted(set(error.instance) - set(error.schema.get("properties", {})))


def _explain(error: Any) -> str:
    """A schema error in words: the key, the value, what is allowed."""
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        extra = _unknown_keys(error)
        near = difflib.get_close_matches(extra[0], allowed, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        full = f"{key}.{extra[0]}" if key else extra[0]
        return f"unknown key {full!r}.{hint} Allowed here: {', '.join(allowed)}."
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"the key {'.'.join(filter(None, [key, missing[0]]))!r} is missing."
    wanted = error.schema.get("description", "")
    return f"{key}: {error.message}.{' ' + wanted if wanted else ''}"
