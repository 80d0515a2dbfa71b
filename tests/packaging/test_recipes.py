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
    (tmp_path / "data").mkdir()
    for path in (ROOT / "data").iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    ledger = tmp_path / "data" / "versions.tsv"  # the only one that a recipe writes
    ledger.unlink()
    shutil.copyfile(ROOT / "data" / "versions.tsv", ledger)
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


def touched(tree: Path) -> set[str]:
    """Files of the package and its tests that a recipe changed or added by hand."""
    written = (path for folder in ("hawk", "tests") for path in (tree / folder).rglob("*") if path.is_file())
    names = {str(path.relative_to(tree)) for path in written if "__pycache__" not in path.parts}
    return {
        name
        for name in names
        if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != (tree / name).read_bytes()
    }


def run_tests(tree: Path, *words: str) -> None:
    """Run tests of the copy; some must be selected, and all must pass."""
    said = python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words)
    assert "[100%]" in said


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
    """Tokens in order, shaken by noise of a given strength.

    Parameters
    ----------
    strength : float, default 1
        Of the noise, in shares of the prompt.
    seed : int, default 0
        Of the noise.
    """

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
    assert len(touched(tree)) == 3
    run_tests(tree, "tests/pruning/test_pruners.py", "-k", "jitter")
    python(tree, "docs/generate_lists.py")
    assert "| `jitter` | Tokens in order, shaken by noise" in (tree / "docs/methods.md").read_text()
    assert (
        "| `strength` | `jitter` | float, default 1 | Of the noise" in (tree / "docs/methods.md").read_text()
    )


BENCHMARK = '''"""Receipts: what ten people read on a receipt; a recipe's example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hawk.benchmarks.base import Sample
from hawk.benchmarks.bases.vqa import AnnotatedVQA


@dataclass(frozen=True)
class Receipts(AnnotatedVQA):
    name: ClassVar[str] = "receipts"
    family: ClassVar[str] = "receipts"
    hub_id: ClassVar[str] = "example/receipts"
    columns: ClassVar[tuple[str, ...]] = ("id", "question", "answers", "image")
    published_rows: ClassVar[int] = 4

    def from_hub(self, row: Mapping[str, Any], number: int) -> Sample:
        return self.sample(row, str(row["id"]), answer="answers")
'''

ROWS = """
def receipts() -> list[dict[str, Any]]:
    answers = ["two euros"] * 6 + ["euros", "two", "three euros", "cents"]
    return [
        {"id": str(number), "question": "What is the sum?", "answers": answers, "image": image(1900 + number)}
        for number in range(4)
    ]


# Benchmark → tables: (file"""


def test_a_benchmark_takes_three_files(tree: Path) -> None:
    (tree / "hawk/benchmarks/receipts.py").write_text(BENCHMARK)
    after(tree / "hawk/benchmarks/__init__.py", '    "pope": "hawk.benchmarks.pope:POPE",\n',
          '    "receipts": "hawk.benchmarks.receipts:Receipts",\n')  # fmt: skip
    rows = tree / "tests/helpers/hub_rows.py"
    rows.write_text(rows.read_text().replace("\n# Benchmark → tables: (file", ROWS))
    after(rows, '    "pope": [("data/test-00000-of-00001.parquet", pope)],\n',
          '    "receipts": [("data/test-00000-of-00001.parquet", receipts)],\n')  # fmt: skip
    after(rows, '    "pope": ["Yes", "No"] * 3,\n', '    "receipts": ["two euros"] * 4,\n')
    assert len(touched(tree)) == 3
    python(tree, "tests/helpers/prompt_snapshots.py", "--update")
    assert '"user: <image>What is the sum?' in (tree / "tests/prompts/receipts.json").read_text()
    python(tree, "docs/generate_lists.py")
    run_tests(tree, "tests/benchmarks", "-k", "receipts or ledger_lists")
    assert "| `receipts` | Receipts: what ten people" in (tree / "docs/methods.md").read_text()


FAMILY = '''"""Qwen3-VL with experts: a recipe's example."""

from __future__ import annotations

from hawk.models.qwen3_vl import Qwen3VL


class Qwen3VLMoe(Qwen3VL):
    """``Qwen3VLMoeForConditionalGeneration``."""

    name = "qwen3_vl_moe"
'''

MODEL = """
SCALES["experts"] = 0.2  # [experts, out, in]: two of its sizes would count as inputs


@cache
def qwen3_vl_moe(attention: str = "sdpa", seed: int = 0) -> torch.nn.Module:
    from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

    vision = {
        "depth": 3, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "patch_size": 4,
        "spatial_merge_size": 2, "out_hidden_size": HIDDEN, "temporal_patch_size": 2,
        "in_channels": 3, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    rope = {**MROPE, "mrope_section": [4, 4, 4], "mrope_interleaved": True}
    text = {**TEXT, **experts, "rope_parameters": rope, "head_dim": 24}
    config = Qwen3VLMoeConfig(text_config=text, vision_config=vision, **QWEN_IDS)
    return build(Qwen3VLMoeForConditionalGeneration, config, attention, seed)


MODELS = {
    "qwen3_vl_moe": qwen3_vl_moe,
"""

PROMPTS = """PROMPTS = {
    "qwen3_vl_moe": Maker(
        partial(_qwen_inputs, frames_apart=True), partial(_qwen_processor, "Qwen3VL", frames_apart=True)
    ),
"""


def test_a_family_takes_four_files(tree: Path) -> None:
    (tree / "hawk/models/qwen3_vl_moe.py").write_text(FAMILY)
    after(tree / "hawk/models/__init__.py", '    "qwen3_vl": "hawk.models.qwen3_vl:Qwen3VL",\n',
          '    "qwen3_vl_moe": "hawk.models.qwen3_vl_moe:Qwen3VLMoe",\n')  # fmt: skip
    for name, line, new in (
        ("tiny_random", "\nMODELS = {\n", MODEL),
        ("tiny_prompts", "PROMPTS = {\n", PROMPTS),
    ):
        path = tree / f"tests/helpers/{name}.py"
        assert path.read_text().count(line) == 1
        path.write_text(path.read_text().replace(line, new))
    assert len(touched(tree)) == 4
    run_tests(tree, "tests/pruning/test_oracles.py", "tests/inference", "-k", "qwen3_vl_moe and not eager")
    python(tree, "docs/generate_lists.py")
    assert "| `qwen3_vl_moe` | Qwen3-VL with experts" in (tree / "docs/methods.md").read_text()


FIGURE = '''"""Distribution of drops: a recipe's example."""

from __future__ import annotations

from hawk.report.figures.style import new_figure
from hawk.report.run import Run


def draw(run: Run):
    figure = new_figure(3, 2)
    figure.subplots().hist(run.drops["drop"])
    return figure
'''

MADE = """
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
"""

DRAWN = f"""{MADE}
print("How drops spread" in open(paths.report()).read())
"""


def test_a_figure_takes_two_files(tree: Path) -> None:
    (tree / "hawk/report/figures/spread.py").write_text(FIGURE)
    line = '    Figure("spread", "heads", "How drops spread.", "a histogram", ("drops",), "spread:draw"),\n'
    after(tree / "hawk/report/figures/__init__.py", "FIGURES: list[Figure] = [\n", line)
    assert len(touched(tree)) == 2
    assert python(tree, "-c", DRAWN).splitlines()[-1] == "True"
    assert (tree / "made/figures/spread.svg").is_file()
    python(tree, "docs/generate_outputs.py")
    assert "spread.svg" in (tree / "docs/outputs.md").read_text()
    planned = python(tree, "-m", "snakemake", "--dry-run", "--quiet", "host", "--cores", "1", "--nolock")
    assert "figures/spread.svg" in planned


COLUMN = """
    Column("removed_tokens", "tokens removed", _number("removed_tokens"), (MARKDOWN, TERMINAL, HTML)),
"""

STORED = f"""{MADE}
import csv
table = [row for row in csv.DictReader(open(paths.table("retention", "csv"))) if row["variant"] != "majority"]
print({{
    float(row["visual_tokens"]) - float(row["kept_tokens"]) == float(row["removed_tokens"]) for row in table
}})
print(*("tokens removed" in open(path).read() for path in (paths.report(), paths.table("retention", "md"))))
"""


def test_a_stored_column_takes_two_files(tree: Path) -> None:
    analysis, columns = tree / "hawk/analysis/comparison.py", tree / "hawk/report/columns.py"
    after(analysis, '        ("visual_tokens", pa.float64(), "Mean per question."),\n',
          '        ("removed_tokens", pa.float64(), "Tokens that were removed."),\n')  # fmt: skip
    visual = "np.mean([run.baseline.visual_tokens for run in runs])"
    kept = "np.mean([one.kept_tokens for one in scored])"
    after(analysis, f'        "visual_tokens": float({visual}),\n',
          f'        "removed_tokens": float({visual} - {kept}),\n')  # fmt: skip
    after(analysis, '        "visual_tokens": mean("visual_tokens"),\n',
          '        "removed_tokens": mean("removed_tokens"),\n')  # fmt: skip
    after(columns, "\n    *map(_as_is, comparison.RETENTION.names),", COLUMN.rstrip())
    assert len(touched(tree)) == 2
    assert python(tree, "-c", STORED).splitlines()[-2:] == ["{True}", "True True"]
    python(tree, "docs/generate_outputs.py")
    assert (
        "| `removed_tokens` | number | Tokens that were removed. |" in (tree / "docs/outputs.md").read_text()
    )
    run_tests(tree, "tests/report/test_columns.py")


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
