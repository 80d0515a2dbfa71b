"""Declared hypotheses: differences and p by literal computations, one Holm family, and their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from factories import make_config, toy_benchmarks, write_run
from literal_tables import Literal

from hawk.analysis import statistics
from hawk.cli.tools import compare as compare_command
from hawk.core.paths import RunPaths
from hawk.report.run import Run
from hawk.report.sections.comparison import retention as section
from hawk.report.tables import read_hypotheses, read_retention
from hawk.steps.make_tables import make_tables
from hawk.tools.show import show

BENCHMARKS = ["toy", "shared", "pairs"]  # toy and shared show the same images
PAIRS = [
    {"variant": "divprune", "against": "hawk-uniform"},
    {"variant": "hawk-zero", "against": "divprune", "benchmarks": ["toy", "shared"]},
    {"variant": "random", "against": "divprune", "benchmarks": ["pairs"], "ratios": [0.6]},
]


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with toy_benchmarks():
        yield


@pytest.fixture
def runs(tmp_path: Path) -> tuple[list[str], dict[str, Any]]:
    """Two models that were asked the same."""
    config = make_config()
    config["evaluation"] = {
        **config["evaluation"], "benchmarks": BENCHMARKS, "ratios": [0.6, 0.8], "hypotheses": PAIRS,
    }  # fmt: skip
    for seed, name in enumerate(("one", "two")):
        write_run(tmp_path / name, config, seed=seed)
    return [str(tmp_path / name) for name in ("one", "two")], config


def seeds_of(config: dict[str, Any], variant: str) -> int:
    named = {one["name"]: one for one in config["evaluation"]["variants"]}
    return named[variant].get("seeds", 1)


def literal_gap(
    roots: list[str], config: dict[str, Any], row: dict[str, Any], swapped: set[str] = frozenset()
) -> float:
    """Difference of two variants, the answers about some images swapped between them, row by row."""
    gaps = []
    for root in roots:
        for name in row["benchmarks"]:
            one = Literal(root, config, name)
            base = one.bench.aggregate(one.rows("baseline", ""))
            seeds = [seeds_of(config, row[side]) for side in ("variant", "against")]
            for seed in range(max(seeds)):
                ours, other = (
                    one.rows(row[side], row["pruning_ratio"], min(seed, count - 1))
                    for side, count in zip(("variant", "against"), seeds, strict=True)
                )
                turn = ours["group_id"].isin(swapped).to_numpy()
                a, b = ours["score"].to_numpy(), other["score"].to_numpy()
                ours["score"], other["score"] = np.where(turn, b, a), np.where(turn, a, b)
                gap = 100 * (one.bench.aggregate(ours) - one.bench.aggregate(other)) / base
                gaps.append(gap / max(seeds))
    return float(np.sum(gaps)) / len(roots) / len(row["benchmarks"])


def test_each_row_by_literal_swaps_of_images_in_all_models_and_benchmarks_at_once(runs) -> None:
    roots, config = runs
    output = str(Path(roots[0]).parent / "both")
    make_tables(config, output, roots)
    frame, _ = read_hypotheses(output)
    rows = frame.to_dict("records")
    assert [(row["hypothesis"], row["pruning_ratio"]) for row in rows] == [
        (1, "0.6"), (1, "0.8"), (2, "0.6"), (2, "0.8"), (3, "0.6"),
    ]  # fmt: skip
    assert [len(row["benchmarks"]) for row in rows] == [3, 3, 2, 2, 1]
    assert {row["runs"] for row in rows} == {2}
    samples = {name: Literal(roots[0], config, name).samples for name in BENCHMARKS}
    for row in rows[1:4:2] + rows[4:]:
        shown = [samples[name]["group_id"] for name in row["benchmarks"]]
        assert row["samples"] == sum(map(len, shown))
        images = sorted(set(pd.concat(shown)))
        assert row["groups"] == len(images)
        observed = literal_gap(roots, config, row)
        assert row["difference"] == pytest.approx(observed)
        assert row["difference_low"] < observed < row["difference_high"]
        # These toys' values are means, so that a swap of an image moves the gap by its own share, twice.
        moved = np.array([observed - literal_gap(roots, config, row, {image}) for image in images])
        draws = np.random.default_rng(3).integers(0, 2, (20_000, len(images)))
        expected = np.mean(np.abs(observed - draws @ moved) >= abs(observed) - 1e-9)
        assert row["p_value"] == pytest.approx(expected, abs=0.015)
        assert row["p_value"] < 0.9  # else a fault would not show


def test_they_are_a_family_of_their_own(runs) -> None:
    roots, config = runs
    make_tables(config, roots[0])
    frame, _ = read_hypotheses(roots[0])
    np.testing.assert_allclose(frame["p_adjusted"], statistics.holm(frame["p_value"]))
    # Control: the large family of the reference variant's comparisons asks more of the same difference.
    retention, _ = read_retention(roots[0])
    same = retention[
        (retention["variant"] == "divprune")
        & (retention["benchmark"] == "overall")
        & (retention["pruning_ratio"] == "0.6")
    ].iloc[0]
    ours = frame.iloc[0]
    assert ours["difference"] == pytest.approx(same["difference"])
    assert [ours["difference_low"], ours["difference_high"]] == pytest.approx(
        [same["difference_low"], same["difference_high"]]
    )
    assert ours["p_value"] == pytest.approx(same["p_value"], abs=0.015)
    assert ours["p_adjusted"] < same["p_adjusted"]


def test_files_come_and_go_with_the_config(runs, monkeypatch: pytest.MonkeyPatch) -> None:
    roots, config = runs
    monkeypatch.setattr("hawk.config.load.load_config", lambda source: config)
    words = ["--config", "any", "--run-dir", roots[0]]
    said = CliRunner().invoke(compare_command, words, catch_exceptions=False).output
    assert "Holm over these 5 tests" in said
    paths = [Path(RunPaths(roots[0]).table("hypotheses", ending)) for ending in ("csv", "md", "parquet")]
    assert all(path.is_file() for path in paths)
    assert "| divprune | hawk-uniform | 0.6 | " in paths[1].read_text()
    assert paths[1].read_text().count(" | toy, shared, pairs |\n") == 2  # of two ratios
    assert show(str(paths[2])).split("\n\n", 1)[1] in said
    assert all(len(line) <= 80 for line in show(str(paths[2])).splitlines())
    page = section(Run.read(config, roots[0]))
    assert "declared hypotheses" in page
    assert "Holm over these 5 tests" in page
    config["evaluation"]["hypotheses"] = []
    make_tables(config, roots[0])
    assert not any(path.exists() for path in paths)
    assert read_hypotheses(roots[0]) is None
    assert "declared hypotheses" not in section(Run.read(config, roots[0]))
