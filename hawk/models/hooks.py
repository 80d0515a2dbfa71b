"""Hooks for the length of one call, on a model that other threads and tasks may be using.

A hook of torch lies on the module and so meets every pass through it, whoever makes it. Those put here
act on passes of the thread or asyncio task that opened them, and on what that starts with a copy of
its context (``asyncio.to_thread``, a task of its own); every other pass goes by as if they were not there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

# What is open around the code that runs now. A ContextVar: threads and tasks have a value each.
_OPEN: ContextVar[frozenset[Hooks]] = ContextVar("hawk_open_hooks", default=frozenset())

# Torch numbers hooks with a counter that two threads may read at once: one would get the other's number,
# and with it its place on the module.
_REGISTERING = threading.Lock()


class Hooks:
    """Some hooks, and whose passes they act on. Made by :func:`own_hooks`."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    @property
    def opened_here(self) -> bool:
        """Whether the code that asks runs inside the block that opened these."""
        return self in _OPEN.get()

    def before(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """``hook(module, args, kwargs)`` before every own pass, as ``register_forward_pre_hook``."""
        with _REGISTERING:
            self._handles.append(module.register_forward_pre_hook(self._guarded(hook), with_kwargs=True))

    def after(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """``hook(module, args, output)`` after every own pass, as ``register_forward_hook``."""
        with _REGISTERING:
            self._handles.append(module.register_forward_hook(self._guarded(hook)))

    def remove(self) -> None:
        with _REGISTERING:
            while self._handles:
                self._handles.pop().remove()

    def _guarded(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        # Any number of arguments: torch stores a hook before it notes that the hook takes keywords, and
        # another thread's pass may come in between.
        def guarded(*given: Any) -> Any:
            return hook(*given) if self.opened_here else None

        return guarded


@contextmanager
def own_hooks() -> Iterator[Hooks]:
    """Hooks put on inside act on own passes only, and are gone at the end, also after an error."""
    hooks = Hooks()
    _OPEN.set(_OPEN.get() | {hooks})
    try:
        yield hooks
    finally:
        # Not reset(token): a block may be left in another context than it was entered in.
        _OPEN.set(_OPEN.get() - {hooks})
        hooks.remove()
