"""Exported heads, read back as other tools do it: their rules are written here once more."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from factories import make_config, measure_drops, toy_benchmarks, write_run

from hawk.cli.main import cli
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.steps.head_weights import head_weights
from hawk.tools.export_heads import export_heads


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("run"))
    with toy_benchmarks():
        config = write_run(root, make_config())
        measure_drops(config, root)
        head_weights(config, RunPaths(root), "zero")
    return root


def read_headkv(path: Path) -> dict[tuple[int, int], float]:
    """As rankings of retrieval heads do: the first line, the mean of each list."""
    with path.open() as file:
        found = json.loads(file.readline())
    return {tuple(map(int, key.split("-"))): sum(value) / len(value) for key, value in found.items()}  # type: ignore[misc]


def read_duoattention(path: Path) -> np.ndarray:
    """As DuoAttention and kvpress do: tabs, floats, clipped to 0 … 1."""
    return np.clip(np.loadtxt(path, dtype=float, delimiter="\t", ndmin=2), 0, 1)


def drops(root: str, ablation: str) -> pd.DataFrame:
    return pd.read_parquet(RunPaths(root).drops(ablation))


@pytest.mark.parametrize("ablation", ["zero", "selection"])
def test_headkv_lists_a_drop_per_benchmark(root: str, tmp_path: Path, ablation: str) -> None:
    output = tmp_path / "heads.json"
    export_heads(root, "headkv", str(output), ablation)
    expected = drops(root, ablation).groupby(["layer", "head"])["drop"].mean() / 100
    found = read_headkv(output)
    assert found == pytest.approx(expected.to_dict())
    best = max(found, key=found.__getitem__)
    assert best == (0, 0 if ablation == "zero" else 3)  # the heads that matter by construction


def test_duoattention_is_layers_by_key_value_heads(root: str, tmp_path: Path) -> None:
    output = tmp_path / "full_attention_heads.tsv"
    notes = export_heads(root, "duoattention", str(output), "zero")
    found = read_duoattention(output)
    mean = drops(root, "zero").groupby("head")["drop"].mean().clip(lower=0)
    groups = [max(mean[0], mean[1]), max(mean[2], mean[3])]  # 4 heads share 2 key-value heads
    assert found.shape == (2, 2)
    assert found[0].tolist() == pytest.approx([one / max(groups) for one in groups])
    assert found[1].tolist() == [0, 0]
    assert found.max() == 1
    assert notes[-1] == "layers that were not measured are written as 0: 1"


def test_csv_holds_every_number(root: str, tmp_path: Path) -> None:
    output = tmp_path / "heads.csv"
    export_heads(root, "csv", str(output), "selection")
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = drops(root, "selection")
    assert len(rows) == len(table)
    for row, expected in zip(rows, table.to_dict("records"), strict=True):
        assert (row["benchmark"], int(row["head"])) == (expected["benchmark"], expected["head"])
        for key in ("drop", "ci_low", "ci_high", "logprob_drop"):
            assert float(row[key]) == expected[key]


def test_weights_of_a_file(tmp_path: Path) -> None:
    geometry = Geometry(layers=3, heads=4, kv_heads=2, head_dim=8)
    weights = HeadWeights((0.1, 0.2, 0.3, 0.4), geometry, layer=2)
    weights.save(tmp_path / "weights.json")
    export_heads(str(tmp_path / "weights.json"), "headkv", str(tmp_path / "a"))
    assert read_headkv(tmp_path / "a") == {(2, 0): 0.1, (2, 1): 0.2, (2, 2): 0.3, (2, 3): 0.4}
    export_heads(str(tmp_path / "weights.json"), "duoattention", str(tmp_path / "b"))
    assert read_duoattention(tmp_path / "b").tolist() == [[0, 0], [0, 0], [0.5, 1]]
    export_heads(str(tmp_path / "weights.json"), "csv", str(tmp_path / "c"))
    assert (tmp_path / "c").read_text().splitlines()[:2] == [
        "layer,head,benchmark,weight",
        "2,0,pooled,0.1",
    ]


def test_what_cannot_be_exported_says_why(root: str, tmp_path: Path) -> None:
    output = str(tmp_path / "heads")
    with pytest.raises(InputError, match=r"unknown ablation 'mean'. Allowed: selection, zero."):
        export_heads(root, "csv", output, "mean")
    with pytest.raises(InputError, match="head weights"):
        export_heads(str(tmp_path / "nothing.json"), "csv", output)
    with pytest.raises(InputError, match=r"it holds no drops/\*\.parquet"):
        export_heads(str(tmp_path), "csv", output)
    bare = tmp_path / "bare"
    (bare / "drops").mkdir(parents=True)
    (bare / "drops" / "zero.parquet").write_bytes(Path(RunPaths(root).drops("zero")).read_bytes())
    with pytest.raises(InputError, match="number of key-value heads"):
        export_heads(str(bare), "duoattention", output)
    export_heads(str(bare), "headkv", output)


def test_the_command(root: str, tmp_path: Path) -> None:
    given: list[Any] = ["export", "heads", root, "--format", "headkv", "--output", str(tmp_path / "h.json")]
    done = CliRunner().invoke(cli, given, catch_exceptions=False)
    assert done.exit_code == 0
    assert len(read_headkv(tmp_path / "h.json")) == 4
    assert CliRunner().invoke(cli, [*given[:4], "xml", *given[5:]]).exit_code == 2


def test_what_is_read_is_not_replaced(root: str, tmp_path: Path) -> None:
    """The drops, or the weights, were gone, with a CSV of their name in their place."""
    table = RunPaths(root).drops("zero")
    weights = tmp_path / "w.json"
    weights.write_bytes(Path(RunPaths(root).head_weights("zero")).read_bytes())
    link = tmp_path / "link.json"
    link.symlink_to(weights)
    before = Path(table).read_bytes(), weights.read_bytes()
    with pytest.raises(InputError, match="is the place of one of the run's own files"):
        export_heads(root, "csv", table)
    for output in (weights, link):
        with pytest.raises(InputError, match="is what is read; give another name"):
            export_heads(str(weights), "csv", str(output))
        result = CliRunner().invoke(
            cli, ["export", "scorer", str(weights), "--model", "nowhere/nothing", "--output", str(output)]
        )
        assert "is what is read" in str(result.exception)
    assert (Path(table).read_bytes(), weights.read_bytes()) == before
