"""Questions won and lost by a head, against a count by hand over the files as any reader sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from factories import ablation, drops_of, make_config, measure_drops, toy_benchmarks, weights, write_run

from hawk.analysis.answers import KEPT, Answers, read_answers
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.heads import Head
from hawk.core.paths import RunPaths

HEADS = [Head(0, index) for index in range(4)]
NAMES = ("zero", "selection", "keep_only")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunPaths, dict[str, Any]]:
    root = tmp_path_factory.mktemp("run")
    config = make_config(
        ablation={"recipes": [ablation(name) for name in NAMES], "heads": "all", "heads_per_job": 1},
        weights={"recipes": [weights("zero")]},
    )
    with toy_benchmarks():
        write_run(root, config)
        measure_drops(config, root)
    return RunPaths(root), config


def by_hand(paths: RunPaths, benchmark: str, name: str, head: Head) -> tuple[list[str], list[str]]:
    """Ids of the questions won and lost, found one by one in tables that pandas joins by id."""
    both = pd.read_parquet(paths.scores(benchmark, name, "reference")).merge(
        pd.read_parquet(paths.scores(benchmark, name, str(head))), on="sample_id", suffixes=("_all", "_head")
    )
    won, lost = [], []
    for row in both.itertuples():
        better = row.score_all > row.score_head if name != "keep_only" else row.score_head > row.score_all
        if better:
            won.append(row.sample_id)
        elif row.score_all != row.score_head:
            lost.append(row.sample_id)
    return won, lost


def read(paths: RunPaths, benchmark: str, name: str) -> Answers:
    found = read_answers(paths, benchmark, name, name, HEADS)
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("benchmark", ["toy", "pairs"])
def test_questions_are_those_that_a_count_by_hand_finds(made, benchmark: str, name: str) -> None:
    paths, _ = made
    found = read(paths, benchmark, name)
    ids = pd.read_parquet(paths.samples("calibration", benchmark))["sample_id"].tolist()
    seen = 0
    for head in HEADS:
        won, lost = by_hand(paths, benchmark, name, head)
        mine = found.heads[head]
        assert (mine.won, mine.lost) == (len(won), len(lost))
        assert [ids[row] for row in mine.first_won] == won[:KEPT]
        assert [ids[row] for row in mine.first_lost] == lost[:KEPT]
        said = pd.read_parquet(paths.scores(benchmark, name, str(head))).set_index("sample_id")["prediction"]
        for row, text in {**mine.first_won, **mine.first_lost}.items():
            assert said[ids[row]] == text
        seen += mine.won + mine.lost
    assert seen > 20
    # The control: another head's file, or the other direction, gives other questions.
    assert by_hand(paths, benchmark, name, HEADS[0]) != by_hand(paths, benchmark, name, HEADS[3])
    assert any(one.won != one.lost for one in found.heads.values())


def test_wins_minus_losses_are_the_drop_of_a_mean(made) -> None:
    """The drop comes by another way: sums per image, aggregated by the benchmark."""
    paths, _ = made
    drops = drops_of(paths.root).set_index(["ablation", "benchmark", "head"])
    for name in NAMES:
        for head, one in read(paths, "toy", name).heads.items():
            row = drops.loc[(name, "toy", head.index)]
            assert 100 * (one.won - one.lost) / row["samples"] == pytest.approx(row["drop"], abs=1e-9)
    turned = read_answers(paths, "toy", "zero", "keep_only", HEADS)
    assert turned is not None
    straight = read(paths, "toy", "zero").heads
    assert [(one.lost, one.won) for one in turned.heads.values()] == [
        (one.won, one.lost) for one in straight.values()
    ]


def test_files_that_are_not_there_are_left_out(made, tmp_path: Path) -> None:
    paths, _ = made
    copied = RunPaths(tmp_path)
    assert read_answers(copied, "toy", "zero", "zero", HEADS) is None
    for place, target in (
        (paths.samples("calibration", "toy"), copied.samples("calibration", "toy")),
        *(
            (paths.scores("toy", "zero", one), copied.scores("toy", "zero", one))
            for one in ("reference", "L0H2")
        ),
    ):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_bytes(Path(place).read_bytes())
    found = read(copied, "toy", "zero")
    assert set(found.heads) == {Head(0, 2)}
    assert found.heads[Head(0, 2)] == read(paths, "toy", "zero").heads[Head(0, 2)]
    path = copied.scores("toy", "zero", "L0H2")
    table = files.read_table(path, schemas.SCORES)
    files.write_table(path, table.to_pandas().iloc[1:], schemas.SCORES, files.provenance_of(table, path))
    with pytest.raises(InputError, match="scores of other samples"):
        read(copied, "toy", "zero")
