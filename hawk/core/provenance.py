"""What every result says about how it was made."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Mapping
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hawk.core.shipped import PACKAGE

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "pandas", "pyarrow", "snakemake")


@functools.cache
def environment() -> dict[str, Any]:
    """Versions and the state of the source, the same for all results of a process."""
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        package_version = version("hawk-vlm")
    except PackageNotFoundError:
        package_version = "source"
    return {"hawk": package_version, **_git(), "libraries": libraries}


def _git() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that this package is in; empty for an installed wheel."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return {}

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


_job: ContextVar[str | None] = ContextVar("job", default=None)


def start_job(config: Mapping[str, Any]) -> str:
    """Note what the job's own config is; every file that it writes carries its hash, as ``job``.

    So a job that finds a file of another writer can tell whether the same settings made it.
    """
    _job.set(hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest())
    return this_job() or ""


def this_job() -> str | None:
    """The hash of the running job's config; None outside a command."""
    return _job.get()


def provenance(identity: Mapping[str, str], **settings: Any) -> dict[str, Any]:
    """The block that goes into a file: its identity, the settings that made it, the environment."""
    return {
        "identity": dict(identity),
        "settings": settings,
        "environment": environment(),
        "job": this_job(),
    }
