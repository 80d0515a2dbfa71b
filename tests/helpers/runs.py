"""A run's folder that shares samples and features with another one."""

from __future__ import annotations

from pathlib import Path

from hawk.core.paths import RunPaths


def linked(paths: RunPaths, folder: str | Path) -> RunPaths:
    """A new run with the samples and features of ``paths``: what is written into it leaves that one alone."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in ("samples", "features"):
        if Path(paths.root, name).exists() and not Path(folder, name).exists():
            Path(folder, name).symlink_to(Path(paths.root, name).resolve())
    return RunPaths(folder)
