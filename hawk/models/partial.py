"""A model run only as far as one of its modules."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from torch import nn

from hawk.models.hooks import own_hooks


def run_to(model: nn.Module, module: nn.Module, **inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, by position and by name, with which ``model(**inputs)`` enters ``module``.

    The pass ends there: what lies behind is not computed. Through the model, and not its decoder:
    a model may add to hidden states on the way (Qwen3-VL's deep stack).
    """
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))
        raise _Reached

    with own_hooks() as hooks, suppress(_Reached):
        hooks.before(module, stop)
        model(**inputs)
    return calls[0]


class _Reached(Exception):
    """Ends a forward pass."""
