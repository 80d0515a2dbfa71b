"""Where the files lie that ship with hawk: the workflow, its configs and profiles, models, data, weights.

In a clone they are folders beside the package; a wheel carries the same files inside it, under
``hawk/workflow`` (see ``force-include`` in pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
_INSIDE = PACKAGE / "workflow"
ROOT = _INSIDE if _INSIDE.is_dir() else PACKAGE.parent


def shipped(*parts: str) -> Path:
    """The place of a shipped file: ``shipped("data", "models")``."""
    return ROOT.joinpath(*parts)


def resolve(path: str) -> str:
    """A relative path as it is where that exists, else its place among the shipped files, if it is there.

    So a shipped config works from any working directory.
    """
    if Path(path).is_absolute() or Path(path).exists() or not path or path.startswith(("~", "..")):
        return path
    inside = shipped(path)
    return str(inside) if inside.exists() else path
