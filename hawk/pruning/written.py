"""A pruner as people write it: on a command line, or among the arguments of another harness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.core.errors import InputError
from hawk.core.values import shown
from hawk.core.yaml_files import read_value
from hawk.pruning import pruner
from hawk.pruning.base import Pruner
from hawk.pruning.options import facts

# How both the command line and the other harnesses name what is no option of a method.
OWN_PLACE = {"method": "method", "weights": "weights", "pruning_ratio": "ratio"}


def written_pruner(method: str, weights: str | None, ratio: object, options: Mapping[str, Any]) -> Pruner:
    """The pruner of a method; options that are text are read as YAML (``true``, ``3``, ``{method: hawk}``).

    weights: ``"uniform"`` or None, a shipped name, a file, or a Hub id. Raises InputError for an unknown
    method or option, for head weights of a method that takes none, and for options that have a place of their
    own: method, weights and the ratio. One of the two would be dropped.
    """
    for key, place in OWN_PLACE.items():
        if key in options:
            raise InputError(f"option {key}={shown(options[key])}: it is no option here; give it as {place}.")
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
        return read_value(value)
    except InputError as error:
        raise InputError(f"option {key}={shown(value)}: {error}") from None
