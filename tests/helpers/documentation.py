"""The fences of the documentation, what is said above them, and a folder in which they are run.

A fence is run unless an HTML comment on the line above it says otherwise:

- ``<!-- needs: a GPU -->``: not run; also a network, a cluster, a long time, files of your own.
- ``<!-- run: long -->``: run by the long tests, in a folder without results.
- ``<!-- run by: PATH -->``: run elsewhere; the file at PATH has every one of its commands.
- ``<!-- file: PATH -->``: no command; its text is the file at PATH for the commands of the page.
- ``<!-- output -->``, ``<!-- output begins -->``: what the command before it prints.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import factories
from conftest import ROOT
from factories import write_run

NEEDS = ("a GPU", "a network", "a cluster", "a long time", "files of your own")
MARKS = ("needs", "run", "run by", "file", "output", "output begins")
COMMANDS, PYTHON = "bash", "python"
LANGUAGES = (COMMANDS, PYTHON, "text", "yaml", "json", "csv")

_FENCE = re.compile(
    r"(?:^[ ]*<!-- (?P<mark>[a-z ]+?)(?:: (?P<value>[^>]*?))? -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^[ ]*```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fence of a page."""

    page: str  # its path in the repository
    line: int
    language: str
    text: str
    mark: str | None
    value: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its commands, without comments; a command over several lines is one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in lines]
        return [re.sub(r"\s+", " ", line) for line in found if line]


def pages() -> list[str]:
    """Every page of the documentation, as a path in the repository."""
    found = ["README.md", "CONTRIBUTING.md", "config/README.md"]
    return found + sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The fences of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8") if text is None else text
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("indent")) + 1
        inside = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        value = match["value"] and match["value"].strip()
        found.append(Block(page, line, match["language"], inside, match["mark"], value))
    return found


def all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks(page)]


def runs(block: Block, long: bool = False) -> bool:
    """Whether a fence is run by the tests (``long``: by the long ones)."""
    if block.language not in (COMMANDS, PYTHON):
        return False
    return block.mark == "run" and block.value == "long" if long else block.mark is None


def folder_of_a_clone(folder: Path) -> Path:
    """What a clone has, as links; config/ is a copy, since commands write into it."""
    for name in ("Snakefile", "rules", "hawk", "data", "docs", "profiles", "slurm", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "config").mkdir()
    for path in (ROOT / "config").glob("*.yaml"):
        (folder / "config" / path.name).write_bytes(path.read_bytes())
    (folder / "config" / "schemas").symlink_to(ROOT / "config" / "schemas")
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, module in (("hawk", "hawk"), ("snakemake", "snakemake"), ("python", "")):
        words = f"-m {module} " if module else ""
        (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        (binaries / name).chmod(0o755)
    return folder


def environment(folder: Path) -> dict[str, str]:
    path = f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def write_demo(folder: Path) -> None:
    """A finished run of the demo's config under ``outputs/tiny``: made-up scores, and what follows."""
    from hawk.config.load import load_config
    from hawk.core.paths import RunPaths
    from hawk.steps.head_weights import head_weights
    from hawk.steps.make_tables import make_tables

    config = load_config(str(ROOT / "config" / "config.yaml"))
    config["statistics"]["resamples"] = 200
    for section in ("calibration", "evaluation"):
        config[section]["samples"] = 32
    paths = RunPaths(folder / "outputs" / "tiny")
    made = factories.settings(config)
    made["geometry"] = {"layers": 4, "heads": 8, "kv_heads": 4, "head_dim": 16}
    made["model"] = {**made["model"], "family": "qwen2_5_vl"}
    with mock.patch.object(factories, "settings", return_value=made):
        write_run(paths.root, config)
    factories.measure_drops(config, paths.root)
    for recipe in config["weights"]["recipes"]:
        head_weights(config, paths, recipe["name"])
    make_tables(config, paths.root)
