"""``hawk show``: what a person sees in a terminal of 80 columns."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from factories import make_config, measure_drops, stability_of, toy_benchmarks, write_run  # tmp

from hawk.cli.tools import show as command
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.steps.head_weights import head_weights
from hawk.steps.make_tables import make_tables
from hawk.tools.show import bar, show


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("run"))
    with toy_benchmarks():
        config = write_run(folder, make_config())
        measure_drops(config, folder)
        head_weights(config, RunPaths(folder), "zero")
        make_tables(config, folder)
    return folder


def fits(text: str) -> bool:
    return max(map(len, text.splitlines())) <= 80


def test_head_weights_are_bars_with_their_benchmarks(root: str) -> None:
    path = RunPaths(root).head_weights("zero")
    text, weights = show(path), HeadWeights.load(path)
    assert fits(text)
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("L0H")}
    assert list(lines) == ["L0H0", "L0H1", "L0H2", "L0H3"]
    for head, line in enumerate(lines.values()):
        assert f"{weights.weights[head]:.3f}" in line
        for part in weights.per_benchmark.values():
            assert f"{part[head]:.3f}" in line
    lengths = {head: line.count("█") for head, line in lines.items()}
    assert lengths["L0H0"] > 30
    assert max(lengths, key=lengths.__getitem__) == "L0H0"
    assert "uniform would be 0.250" in text


def test_weights_that_noise_would_give_are_marked(root: str, tmp_path: Path) -> None:
    path = RunPaths(root).head_weights("zero")
    null = stability_of(root, "zero")["head_null"]
    weights = HeadWeights.load(path)
    bounds = zip(weights.weights, null["min_shift"]["q025"], null["min_shift"]["q975"], strict=True)
    expected = [low <= weight <= high for weight, low, high in bounds]
    assert len(set(expected)) == 2  # some are marked, some are not
    lines = [line for line in show(path).splitlines() if line.startswith("L0H")]
    assert [" noise" in line for line in lines] == expected
    assert "noise: inside the middle 95 % of the weights if no head mattered" in show(path)
    # Elsewhere nothing is known of noise, and the null is of weights pooled over all benchmarks.
    shutil.copy(path, tmp_path / "pooled.json")
    assert "noise" not in show(str(tmp_path / "pooled.json"))
    other = Path(root) / "head_weights" / "zero" / "without-pairs.json"
    shutil.copy(path, other)
    assert "noise" not in show(str(other))
    other.unlink()


def test_many_long_benchmarks_still_fit_and_are_named(tmp_path: Path) -> None:
    names = [f"a-benchmark-with-a-long-name-{i}" for i in range(9)]
    weights = HeadWeights(
        weights=(0.5, 0.25, 0.25),
        geometry=Geometry(2, 3, 1, 8),
        model={"id": "m" * 100},
        per_benchmark={name: (0.5, 0.25, 0.25) for name in names},
        samples=dict.fromkeys(names, 7),
    )
    weights.save(tmp_path / "w.json")
    text = show(str(tmp_path / "w.json"))
    assert fits(text)
    assert "no room to show: a-benchmark" in text


def test_raw_shipped_weights_are_shown_as_shares(tmp_path: Path) -> None:
    HeadWeights(weights=(3.0, 1.0), geometry=Geometry(1, 2, 1, 8)).save(tmp_path / "w.json")
    text = show(str(tmp_path / "w.json"))
    assert "0.750" in text
    assert "0.250" in text


def test_a_file_says_that_it_holds_a_mean_query(tmp_path: Path) -> None:
    weights = HeadWeights.uniform(Geometry(1, 2, 1, 2))
    for query, said in ((None, False), (((1.0, 2.0), (3.0, 4.0)), True)):
        replace(weights, mean_query=query).save(tmp_path / "w.json")
        assert ("mean query (query: calibrated)" in show(str(tmp_path / "w.json"))) == said


def test_signed_weights_are_shown_by_their_size(tmp_path: Path) -> None:
    signed = HeadWeights((0.25, -0.75), Geometry(1, 2, 1, 8), weight_normalization="signed")
    signed.save(tmp_path / "w.json")
    lines = [line for line in show(str(tmp_path / "w.json")).splitlines() if line.startswith("L0H")]
    assert "-0.750" in lines[1]
    assert lines[1].count("█") > 2 * lines[0].count("█") > 0


@pytest.mark.parametrize(
    ("value", "drawn"), [(1.0, "████████"), (0.5, "████"), (1 / 64, "▏"), (0, ""), (-1, "")]
)
def test_bars_are_true_to_an_eighth(value: float, drawn: str) -> None:
    assert bar(value, 1.0, 8) == drawn


def test_every_table_of_a_run_can_be_shown(root: str) -> None:
    files = sorted(Path(root).rglob("*.parquet"))
    kinds = set()
    for file in files:
        text = show(str(file))
        assert fits(text), file
        kinds.add(str(pq.read_schema(file).names))
    assert len(kinds) == 6  # samples, scores, evaluation, drops, retention, controls


def test_drops_are_sorted_and_noise_is_named(root: str) -> None:
    text = show(RunPaths(root).drops("zero"))
    frame = pd.read_parquet(RunPaths(root).drops("zero"))
    assert text.count(" noise ") + text.count("noise\n") >= frame["is_noise"].sum()
    first = text.split("toy, zero:")[1].splitlines()[1:5]
    values = [float(line.split()[1]) for line in first]
    assert values == sorted(values, reverse=True)


def test_scores_say_what_went_wrong(root: str) -> None:
    path = RunPaths(root).scores("toy", "zero", "L0H0")
    text, frame = show(path), pd.read_parquet(path)
    assert f"{100 * frame['score'].mean():.1f} %" in text
    assert "nothing parsed from 'hm'" in text
    evaluation = show(RunPaths(root).evaluation("toy", "random"))
    assert sum(line.split()[:2] == ["0.8", "2"] for line in evaluation.splitlines()) == 1


def test_stability_is_a_table(root: str) -> None:
    text = show(RunPaths(root).stability("zero"))
    assert fits(text)
    assert len([line for line in text.splitlines() if line.startswith("pooled")]) == 1
    assert "…" not in text


def test_a_cost_table(tmp_path: Path) -> None:
    row: dict[str, Any] = {field.name: 1 for field in schemas.COST}
    plain = row | {"variant": "unpruned", "pruning_ratio": "0", "total_ms": 25.0}
    row |= {"variant": "hawk", "pruning_ratio": "0.8", "total_ms": 12.5, "kv_cache_bytes": 2_340_000}
    files.write_table(tmp_path / "cost.parquet", [plain, row], schemas.COST, provenance({"table": "cost"}))
    line = show(str(tmp_path / "cost.parquet")).splitlines()[-1]
    assert line.split() == ["hawk", "0.8", "12.5", "×2.00", "1.0", "1.00", "2.34", "1"]


def test_text_from_files_cannot_steer_the_terminal(root: str, tmp_path: Path) -> None:
    path = RunPaths(root).scores("toy", "zero", "L0H0")
    table = pq.read_table(path)
    frame = table.to_pandas()
    frame["prediction"] = "\x1b[2J" + "x" * 200
    frame["sample_id"] = [f"\x1b]0;title\x07{row}" for row in range(len(frame))]
    files.write_table(tmp_path / "x.parquet", frame, schemas.SCORES, files.provenance_of(table, path))
    text = show(str(tmp_path / "x.parquet"))
    assert "\x1b" not in text
    assert fits(text)


def test_what_cannot_be_shown_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        show(str(tmp_path / "none.json"))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"not '.txt'"):
        show(str(tmp_path / "a.txt"))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        show(str(tmp_path / "a.json"))
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(InputError, match="format"):
        show(str(tmp_path / "b.json"))
    (tmp_path / "a.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="not a readable parquet"):
        show(str(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="its columns are a"):
        show(str(tmp_path / "b.parquet"))


def test_the_command_prints_it(root: str) -> None:
    path = RunPaths(root).head_weights("zero")
    found = CliRunner().invoke(command, [path])
    assert found.exit_code == 0
    assert found.output.rstrip("\n") == show(path)


def test_a_folder_is_an_overview_of_its_run(root: str) -> None:
    text = show(root)
    assert fits(text)
    rows = {line.split()[0]: line for line in text.splitlines()[2:]}
    paths = RunPaths(root)
    drops = pd.read_parquet(paths.drops("zero"))
    means = drops.groupby("head")["drop"].mean()
    assert f"most: L0H{means.idxmax()}, {means.max():+.1f} points" in rows["drops/zero.parquet"]
    assert f"{drops['head'].nunique()} heads, " in rows["drops/zero.parquet"]
    weights = HeadWeights.load(paths.head_weights("zero"))
    null = stability_of(root, "zero")["head_null"]["min_shift"]
    inside = sum(
        low <= one <= high for one, low, high in zip(weights.weights, null["q025"], null["q975"], strict=True)
    )
    assert f"{inside} of 4 heads inside their null" in rows["head_weights/zero/pooled.json"]
    retention = pd.read_parquet(paths.table("retention", "parquet"))["verdict"]
    words = f"{(retention == 'better').sum()} better, {(retention == 'worse').sum()} worse"
    assert words in rows["tables/retention.parquet"]
    evaluated = list(Path(root).glob("evaluation/*/*.parquet"))
    assert f"{len({file.stem for file in evaluated})} variants on" in rows["evaluation/*/*.parquet"]
    assert len(rows) < 12  # one line for all evaluations, not one each


def test_one_damaged_file_hides_no_other(root: str, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(root, copy)
    Path(RunPaths(copy).drops("zero")).write_bytes(b"x")
    rows = {line.split()[0]: line for line in show(str(copy)).splitlines()[2:]}
    assert "cannot be read: hawk show says why" in rows["drops/zero.parquet"]
    assert "inside their null" in rows["head_weights/zero/pooled.json"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this folder is no run"):
        show(str(tmp_path))


def test_bars_of_drops_share_one_scale(root: str) -> None:
    """Over all benchmarks of a file: the largest drop alone fills the line."""
    frame = pd.read_parquet(RunPaths(root).drops("zero"))
    largest = frame["drop"].max()
    lines = [line for line in show(RunPaths(root).drops("zero")).splitlines() if line.startswith("L0H")]
    room = 80 - len("L0H0    +00.0 [00.0, 00.0]     noise ")
    assert frame.groupby("benchmark")["drop"].max().nunique() > 1  # else both scales look alike
    for line in lines:
        value = float(line.split()[1])
        expected = max(0.0, value) / largest
        assert abs(line.count("█") / room - expected) < 0.1, line
