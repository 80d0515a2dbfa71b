"""A process in which packages are not installed, simulated: none of Python's finders finds them."""

from __future__ import annotations

import sys
from typing import Any


class _Without:
    """A finder that is blind for some names, and else as it was."""

    def __init__(self, finder: Any, names: tuple[str, ...]) -> None:
        self.finder = finder
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.names:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def forbid(*names: str) -> None:
    """Make importing these top-level packages fail from here on."""
    assert not set(names) & set(sys.modules), "already imported"
    sys.meta_path[:] = [_Without(finder, names) for finder in sys.meta_path]
