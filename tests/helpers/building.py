"""Build the package from this tree or another, without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def build(source: Path, folder: Path, target: str) -> Path:
    """Build a target (``sdist`` or ``wheel``) of a source tree into a folder; returns its file."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", target]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return found


def tracked(*paths: str) -> set[str]:
    """Files of this tree below the paths that git does not ignore, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}
