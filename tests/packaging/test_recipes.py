"""CONTRIBUTING's recipes, followed on a copy of the tree with no other file touched."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that git tracks; large data is linked."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True,
                            text=True, check=True).stdout.splitlines()  # fmt: skip
    for name in listed:
        if not name.startswith("data/") and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "data").symlink_to(ROOT / "data")
    return tmp_path


def python(tree: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{tree}:{tree}/tests:{tree}/tests/helpers"}
    done = subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def after(path: Path, line: str, new: str) -> None:
    text = path.read_text()
    assert text.count(line) == 1, line
    path.write_text(text.replace(line, line + new))


PRUNER = '''"""Tokens at random heights: a recipe's example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext


@dataclass(frozen=True)
class Jitter(Pruner):
    """Tokens in order, shaken by noise of a given strength."""

    paper: ClassVar[str] = "control"
    is_control: ClassVar[bool] = True

    strength: float = 1.0
    seed: int = 0

    def scores(self, context: PruningContext) -> Tensor:
        noise = torch.rand(context.tokens, generator=context.generator(self.seed))
        return self.strength * noise - torch.arange(context.tokens) / context.tokens
'''

USE = """
import yaml, hawk
from hawk.config.load import load_config
from hawk.core.heads import Geometry
from hawk.pruning.options import facts
from hawk.steps.variants import build
raw = yaml.safe_load(open("config/config.yaml"))
raw["evaluation"]["variants"].append({"name": "j", "method": "jitter", "seeds": 3, "strength": 2.0})
yaml.safe_dump(raw, open("with_jitter.yaml", "w"))
config = load_config("with_jitter.yaml")
variant = config["evaluation"]["variants"][-1]
print([build(config, variant, "0.8", seed, Geometry(4, 8, 4, 16)).seed for seed in range(3)])
print(hawk.Jitter(pruning_ratio=0.5).strength, facts("jitter").is_control, facts("jitter").seeded)
"""


def test_a_pruner_takes_three_files(tree: Path) -> None:
    (tree / "hawk/pruning/methods/jitter.py").write_text(PRUNER)
    after(tree / "hawk/pruning/__init__.py", '    "grid": "hawk.pruning.methods.grid:Grid",\n',
          '    "jitter": "hawk.pruning.methods.jitter:Jitter",\n')  # fmt: skip
    after(tree / "tests/helpers/matrix.py", '    "grid": ("grid", {}),\n', '    "jitter": ("jitter", {}),\n')
    assert python(tree, "-c", USE).splitlines() == ["[0, 1, 2]", "1.0 True True"]
    said = python(
        tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pruning/test_pruners.py", "-k", "jitter"
    )
    assert "[100%]" in said
    python(tree, "docs/generate_lists.py")
    assert "| `jitter` | Tokens in order, shaken by noise" in (tree / "docs/methods.md").read_text()


FIGURE = '''"""Distribution of drops: a recipe's example."""

from __future__ import annotations

from hawk.report.figures.style import new_figure
from hawk.report.run import Run


def draw(run: Run):
    figure = new_figure(3, 2)
    figure.subplots().hist(run.drops["drop"])
    return figure
'''

DRAWN = """
from factories import make_config, measure_drops, toy_benchmarks, write_run
from hawk.core.paths import RunPaths
from hawk.steps.make_figures import make_figures
from hawk.steps.make_report import make_report
from hawk.steps.make_tables import make_tables
paths = RunPaths("made")
with toy_benchmarks():
    config = write_run(paths.root, make_config())
    measure_drops(config, paths.root)
    make_tables(config, paths.root)
make_figures(config, paths.root)
make_report(config, paths.root)
print("How drops spread" in open(paths.report()).read())
"""


def test_a_figure_takes_two_files(tree: Path) -> None:
    (tree / "hawk/report/figures/spread.py").write_text(FIGURE)
    after(tree / "hawk/report/figures/__init__.py", "FIGURES: list[Figure] = [\n",
          '    Figure("spread", "heads", "How drops spread.", "", ("drops",), "spread:draw"),\n')  # fmt: skip
    assert python(tree, "-c", DRAWN).splitlines()[-1] == "True"
    assert (tree / "made/figures/spread.svg").is_file()
    planned = python(tree, "-m", "snakemake", "--dry-run", "--quiet", "host", "--cores", "1", "--nolock")
    assert "figures/spread.svg" in planned


def test_the_lists_are_up_to_date() -> None:
    script = ROOT / "docs" / "generate_lists.py"
    spec = importlib.util.spec_from_file_location("generate_lists", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == module.page(), (
        "run: python docs/generate_lists.py"
    )
