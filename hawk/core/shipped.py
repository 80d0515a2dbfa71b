"""Where the files lie that ship with hawk: the workflow, its configs and profiles, models, data, weights.

In a clone they are folders beside the package; a wheel carries the same files inside it, under
``hawk/workflow`` (see hatch_build.py).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from hawk.core.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
_INSIDE = PACKAGE / "workflow"
INSTALLED = _INSIDE.is_dir()  # as a wheel, in a place that is not ours to write to
ROOT = _INSIDE if INSTALLED else PACKAGE.parent


def shipped(*parts: str) -> Path:
    """The place of a shipped file: ``shipped("data", "models")``."""
    return ROOT.joinpath(*parts)


def resolve(path: str) -> str:
    """A relative path as it is where that exists, else its place among the shipped files, if it is there.

    So a shipped config works from any working directory.
    """
    # os.path.exists: to Path.exists a name that is too long for the disk is an error.
    if Path(path).is_absolute() or os.path.exists(path) or not path or path.startswith(("~", "..")):
        return path
    inside = shipped(path)
    return str(inside) if os.path.exists(inside) else path


def is_hub_id(source: str) -> bool:
    """Whether a text can be the id of a Hub repository, ``user/repo``: no path is, nor a name for a shell."""
    return (
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}", source) is not None
    )


def check_model_folder(path: str, option: str = "model.path") -> None:
    """A model's path that looks local must exist: otherwise transformers would ask the Hub for it.

    option: where the path was given, for messages.
    """
    if not isinstance(path, str):
        raise InputError(f"{option} is {path!r}; it must be a text, a model's folder or its Hub id.")
    folder = Path(resolve(path))
    local = path.startswith((".", "/", "~", "data/")) or path.count("/") != 1
    if local and not os.path.isfile(folder / "config.json"):
        raise InputError(f"{option} {path!r}: no such model folder (a folder with config.json).")
    if not local and not os.path.isdir(folder) and not is_hub_id(path):
        raise InputError(f"{option} {path!r}: no such model folder, and no Hub id user/repo.")


def config_file(name: str) -> Path:
    """A config file: a path, or a shipped one by its path or bare name (``tiny_internvl``).

    Raises InputError, with the shipped names, if there is none.
    """
    for path in (Path(name), shipped(name), shipped("config", name), shipped("config", f"{name}.yaml")):
        if os.path.isfile(path):
            return path
    names = sorted(path.stem for path in shipped("config").glob("*.yaml"))
    raise InputError(
        f"config file {name!r}: there is no such file, and no shipped config of that name; "
        f"those are {', '.join(names)}."
    )


def profile(name: str) -> str:
    """A Snakemake profile: a path or name as it is, or the place of a shipped one (``slurm``)."""
    inside = shipped("profiles", name)
    return str(inside) if name and not Path(name).exists() and inside.is_dir() else name
