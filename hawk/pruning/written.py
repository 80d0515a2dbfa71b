"""A pruner as people write it: on a command line, or among the arguments of another harness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from hawk.core.errors import InputError
from hawk.pruning import pruner
from hawk.pruning.base import Pruner
from hawk.pruning.options import facts


def written_pruner(method: str, weights: str | None, ratio: object, options: Mapping[str, Any]) -> Pruner:
    """The pruner of a method; options that are text are read as YAML (``true``, ``3``, ``{method: hawk}``).

    weights: ``"uniform"`` or None, a shipped name, a file, or a Hub id. Raises InputError for an unknown
    method or option, and for head weights of a method that takes none.
    """
    chosen = {key: _value(key, value) for key, value in options.items()}
    if facts(method).takes_weights:
        chosen["weights"] = None if weights in (None, "uniform") else weights
    elif weights not in (None, "uniform"):
        raise InputError(f"weights {weights!r}: method {method!r} takes no head weights.")
    return pruner(method, **chosen, pruning_ratio=ratio)


def _value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(
            f"option {key}={value!r} is not a value; write text, a number, or {{key: value}}."
        ) from None
