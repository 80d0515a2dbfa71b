"""A refused value is named with the line it stands on, in the file it stands in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hawk.config.load import load_config
from hawk.core.errors import InputError
from hawk.core.yaml_places import COMMAND_LINE, Places

ROOT = Path(__file__).parent.parent.parent
DEFAULT = ROOT / "config" / "config.yaml"

FIRST = """\
run: a
# a comment
model:
  path: m
  layers: 2
ratios:
  - 0.5
  - 0.75
variants:
  - name: x
    layer: 1
  - name: y
"""
SECOND = """\
model:
  heads: 4
  path: n
ratios: [0.9]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    first, second = tmp_path / "one.yaml", tmp_path / "two.yaml"
    first.write_text(FIRST)
    second.write_text(SECOND)
    return str(first), str(second)


@pytest.mark.parametrize(
    ("path", "file", "line"),
    [
        (["run"], 0, 1),
        (["model"], 1, 1),
        (["model", "layers"], 0, 5),  # laid over, and still of the first
        (["model", "path"], 1, 3),
        (["model", "heads"], 1, 2),
        (["ratios"], 1, 4),
        (["ratios", 0], 1, 4),
        (["ratios", 1], 1, 4),  # a list replaces a list: there is no second in it
        (["variants", 0, "layer"], 0, 11),
        (["variants", 1], 0, 12),
        (["variants", 1, "layer"], 0, 12),  # missing: what lacks it
    ],
)
def test_the_line_in_the_file_whose_value_counts(
    files: tuple[str, str], path: list[str | int], file: int, line: int
) -> None:
    given = {**yaml.safe_load(FIRST), "ratios": [0.9]}
    given["model"] = {"path": "n", "layers": 2, "heads": 4}
    for places in (Places(files), Places(files, given)):
        assert places.of(path) == f"{files[file]}, line {line}"


def test_what_no_file_says_is_given_on_the_command_line(files: tuple[str, str]) -> None:
    given = yaml.safe_load(FIRST) | {"seed": 3}
    given["model"] = {"path": "other", "layers": 2}
    places = Places(files[:1], given)
    assert places.of(["seed"]) == COMMAND_LINE
    assert places.of(["model", "path"]) == COMMAND_LINE
    assert places.of(["model", "layers"]) == f"{files[0]}, line 5"
    assert places.of(["nowhere"]) == files[0]  # a default
    assert Places([], {"run": 1}).of(["run"]) == COMMAND_LINE


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("model.layers: 2 is too few.", 5),
        ("run: 'a' is no name.", 1),
        ("variants, 'y': layer 3 is outside model.layers, 0-1.", 12),
        ("variants: the name 'x' is used more than once.", 10),
        ("unknown thing in model.path: 'm'. Allowed: model.layers", 4),
        ("ratios: 0.75 has too many decimals; 0.5 has not.", 8),
        ("ratios: 0.755 has too many decimals.", 6),  # 0.75 is not meant
        ("the thing of a run is wrong.", None),
    ],
)
def test_the_line_of_what_a_message_is_about(files: tuple[str, str], message: str, line: int | None) -> None:
    expected = files[0] if line is None else f"{files[0]}, line {line}"
    assert Places(files[:1]).of_message(message) == expected


def test_a_merged_mapping_has_the_line_where_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: &a\n  x: 1\nb:\n  <<: *a\n  y: 2\n")
    assert Places([path]).of(["b", "x"]) == f"{path}, line 2"
    assert Places([path]).of(["b", "y"]) == f"{path}, line 5"


WRONG = {
    "schema": ("  heads_per_job: 1", "  heads_per_job: x  #!", "ablation.heads_per_job: 'x' is not"),
    "unknown": (
        "  heads: all",
        "  heads: all\n  heads_pr_job: 1  #!",
        "key 'ablation.heads_pr_job'.",
    ),
    "missing": ("{name: grid, method: grid}", "{name: grid} #!", "'evaluation.variants.6.method' is missing"),
    "check": ("scoring: {layer: 0,", "scoring: {layer: 99, #!\n ", "scoring.layer: 99 is outside model."),
    "variant": ("{name: grid, method: grid}", "{name: grid, method: gird} #!", "evaluation.variants, 'grid'"),
    "benchmark": (
        "  samples: 256",
        "  samples: 256\n  published: {'0.8': {a: 1}} #!",
        "evaluation.published names the variant first; write {hawk-zero: {'0.8': ...}}",
    ),
    "definition": ("seed: 0", "seed: 0\ndata:\n  a: {definition: none.yaml} #!", "data.a: definition of a"),
    "older": ("  heads: all", "  heads: all\n  layers: [1] #!", "ablation.layers is now part of recipes"),
}


def broken(folder: Path, kind: str) -> tuple[Path, int]:
    """The default config with one mistake, and the line of it, counted without a reader of YAML."""
    old, new, _ = WRONG[kind]
    text = DEFAULT.read_text()
    assert text.count(old) == 1
    path = folder / "config.yaml"
    path.write_text(text.replace(old, new))
    (line,) = [i for i, one in enumerate(path.read_text().splitlines(), start=1) if "#!" in one]
    return path, line


@pytest.mark.parametrize("kind", WRONG)
def test_every_kind_of_mistake_in_a_config_has_its_line(tmp_path: Path, kind: str) -> None:
    path, line = broken(tmp_path, kind)
    with pytest.raises(InputError) as caught:
        load_config(path)
    said = str(caught.value)
    assert said.startswith(f"{path}, line {line}: "), said
    assert WRONG[kind][2] in said
    assert "\n" not in said


def dry_run(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n", *words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode
    return ended.stdout + ended.stderr


def test_snakemake_says_it_of_the_right_file_and_of_the_command_line(tmp_path: Path) -> None:
    path, line = broken(tmp_path, "schema")
    upper = tmp_path / "upper.yaml"
    upper.write_text("model:\n  heads: x\n")
    assert f"{path}, line {line}: ablation.heads_per_job: 'x'" in dry_run(tmp_path, "--configfile", str(path))
    said = dry_run(tmp_path, "--configfile", str(DEFAULT), str(upper))
    assert f"{upper}, line 2: model.heads: 'x' is not of type 'integer'" in said
    said = dry_run(tmp_path, "--configfile", str(DEFAULT), "--config", "seed=x")
    assert f"{COMMAND_LINE}: seed: 'x' is not of type 'integer'" in said
