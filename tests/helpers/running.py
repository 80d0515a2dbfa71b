"""Run the real workflow in a folder of its own, with the repository's Snakefile."""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT
from warming import warmed

from hawk.tools.warm import VARIABLE

SMALL = {
    "run": "small",
    "model": {"path": "model", "device": "cpu", "layers": 2, "heads": 2},
    "calibration": {"benchmarks": ["easy_vqa", "digits"], "samples": 12},
    "evaluation": {
        "benchmarks": ["easy_vqa", "digits"],
        "samples": 12,
        "ratios": [0.5, 0.8],
        "reference": "hawk-uniform",
        "variants": [
            {"name": "hawk-zero", "method": "hawk", "weights": "zero"},
            {"name": "hawk-uniform", "method": "hawk", "weights": "uniform"},
            {"name": "random", "method": "random", "seeds": 2},
            {"name": "blind", "method": "blind"},
        ],
    },
    "generation": {"batch_size": 12},
    "statistics": {"resamples": 200},
    "cost": {"samples": 1, "repeats": 2, "max_new_tokens": 2, "variants": ["hawk-uniform"]},
}


@cache
def _warm() -> dict[str, str]:
    """The variable that leads jobs to a warm process, one for all tests of this test process."""
    environment = _open.enter_context(warmed())
    return {VARIABLE: environment[VARIABLE]}


_open = ExitStack()
atexit.register(_open.close)


class Workflow:
    """A folder with a config and a link to a model, in which Snakemake runs."""

    limit = 900  # seconds of one run
    python = sys.executable

    def __init__(self, folder: Path, model: Path, config: dict[str, Any] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model").symlink_to(model)
        self.configure(config or SMALL)

    def configure(self, config: dict[str, Any]) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def command(self, *words: str) -> list[str]:
        return [
            self.python, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(self.folder), "--cores", "2", *words, "--configfile", "config.yaml",
        ]  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        """Run to the end; returns what it printed."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **_warm()}
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=environment,
            timeout=1800,
        )
        text = done.stdout + done.stderr
        assert done.returncode == code, text[-5000:]
        return text

    def planned(self, *words: str) -> dict[str, int]:
        """Rule → number of jobs that a dry run would start."""
        text = self.run("--dry-run", *words)
        table = re.search(r"^job +count\n-+ +-+\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
        if table is None:
            assert "Nothing to be done" in text, text[-3000:]
            return {}
        jobs = dict(line.split() for line in table[1].splitlines())
        jobs.pop("total", None)
        return {rule: int(count) for rule, count in jobs.items()}

    def outputs(self) -> list[Path]:
        return sorted((self.folder / "outputs").rglob("*.parquet"))

    def digests(self) -> dict[str, str]:
        """Digest of every table, and the weights of every weight file."""
        import json

        from hawk.core.files import digest

        root = self.folder / "outputs"
        found = {str(path.relative_to(root)): digest(path) for path in self.outputs()}
        for path in sorted(root.rglob("head_weights/**/*.json")):
            found[str(path.relative_to(root))] = str(json.loads(path.read_text())["weights"])
        return found
