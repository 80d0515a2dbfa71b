"""A process in which packages are not installed, simulated: importing them fails as it would there."""

from __future__ import annotations

import sys


class _Forbidden:
    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def forbid(*names: str) -> None:
    """Make importing these top-level packages fail from here on."""
    assert not set(names) & set(sys.modules), "already imported"
    sys.meta_path.insert(0, _Forbidden(names))
