"""Rankings across runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from factories import make_config, toy_benchmarks, write_run
from scipy import stats

from hawk.cli.tools import compare, sensitivity
from hawk.core.errors import InputError
from hawk.steps.make_tables import make_tables
from hawk.tools.sensitivity import rankings, rankings_text, read_runs


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = []
    with toy_benchmarks():
        for seed, name in enumerate(["keep", "rebase"]):
            folder = str(tmp_path_factory.mktemp("runs") / name)
            config = make_config()
            config["evaluation"] = {**config["evaluation"], "benchmarks": ["toy"]}
            if name == "rebase":
                config["evaluation"]["variants"] = config["evaluation"]["variants"][:-1]
            write_run(folder, config, seed=seed)
            make_tables(config, folder)
            made.append(folder)
    return made


def test_ranks_and_correlation_by_hand(folders: list[str]) -> None:
    table = rankings(read_runs(folders))
    assert set(table["variant"]) == {"hawk-zero", "hawk-uniform", "hawk-permuted", "random", "divprune"}
    for ratio, part in table.groupby("pruning_ratio"):
        wide = part.pivot(index="variant", columns="run", values="retention")
        for run in ("keep", "rebase"):
            rows = part[part["run"] == run].set_index("variant")
            expected = stats.rankdata(-wide[run], method="min")
            assert rows.loc[wide.index, "rank"].tolist() == expected.tolist(), ratio
        same = part[part["run"] == "rebase"]["same_ranking"].unique()
        assert same.tolist() == pytest.approx([stats.spearmanr(wide["keep"], wide["rebase"]).statistic])
        assert part[part["run"] == "keep"]["same_ranking"].unique().tolist() == pytest.approx([1.0])


def test_the_command_prints_and_writes(folders: list[str], tmp_path: Path) -> None:
    given = [word for folder in folders for word in ("--run-dir", folder)]
    out = str(tmp_path / "rankings.csv")
    done = CliRunner().invoke(sensitivity, [*given, "--output", out], catch_exceptions=False)
    table = rankings(read_runs(folders))
    assert done.output.rstrip("\n") == rankings_text(table).rstrip("\n")
    row = table[(table["run"] == "rebase") & (table["variant"] == "random")].iloc[0]
    assert f"{row['retention']:.1f} (#{row['rank']})" in done.output
    with open(out, encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(table)


def test_what_cannot_be_ranked(folders: list[str]) -> None:
    with pytest.raises(InputError, match="two or more runs"):
        read_runs(folders[:1])
    with pytest.raises(InputError, match="two folders of one name"):
        read_runs([folders[0], folders[0]])
    runs = read_runs(folders)
    runs["rebase"] = pd.DataFrame(runs["rebase"]).assign(variant="other")
    with pytest.raises(InputError, match="no variant and ratio"):
        rankings(runs)


def test_runs_over_other_benchmarks_are_refused(folders: list[str], tmp_path: Path) -> None:
    with toy_benchmarks():
        config = make_config()
        config["evaluation"] = {**config["evaluation"], "benchmarks": ["toy", "pairs"]}
        write_run(tmp_path / "more", config)
        make_tables(config, str(tmp_path / "more"))
    with pytest.raises(InputError, match="run more is over pairs, toy, run keep over toy;"):
        read_runs([folders[0], str(tmp_path / "more")])


@pytest.mark.parametrize("own", ["tables/retention.parquet", "samples/evaluation/toy.parquet", "report.html"])
def test_no_file_of_a_run_is_replaced(folders: list[str], own: str) -> None:
    """The table that was read became a CSV of the name retention.parquet."""
    path = Path(folders[1], own)
    before = path.read_bytes() if path.exists() else None
    around = path.parent / ".." / path.parent.name / path.name  # the same by another path
    for words in (str(path), str(around)):
        options = ["--run-dir", folders[0], "--run-dir", folders[1], "--output", words]
        with pytest.raises(InputError, match="is the place of one of the run's own files"):
            CliRunner().invoke(sensitivity, options, catch_exceptions=False)
    assert (path.read_bytes() if path.exists() else None) == before


def test_other_names_in_a_runs_folder_are_free(folders: list[str]) -> None:
    path = Path(folders[1], "rankings.csv")
    options = ["--run-dir", folders[0], "--run-dir", folders[1], "--output", str(path)]
    assert CliRunner().invoke(sensitivity, options, catch_exceptions=False).exit_code == 0
    path.unlink()


def test_compared_runs_do_not_replace_the_tables_of_one(folders: list[str], tmp_path: Path) -> None:
    """It would hold a table of several runs where the report and sensitivity read its own."""
    import yaml

    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(make_config()))
    before = Path(folders[0], "tables/retention.parquet").read_bytes()
    options = ["--config", str(config), "--run-dir", folders[0], "--run-dir", folders[1]]
    with toy_benchmarks(), pytest.raises(InputError, match="is the folder of a run, whose own tables"):
        CliRunner().invoke(compare, [*options, "--output", folders[0]], catch_exceptions=False)
    assert Path(folders[0], "tables/retention.parquet").read_bytes() == before


def test_a_retention_that_is_not_defined_has_no_rank(folders: list[str]) -> None:
    """A baseline at or below chance leaves none."""
    runs = read_runs(folders)
    keep = runs["keep"] = runs["keep"].copy()
    ratio = keep.loc[keep["variant"] == "random", "pruning_ratio"].iloc[0]
    keep.loc[(keep["variant"] == "random") & (keep["pruning_ratio"] == ratio), "retention"] = float("nan")
    table = rankings(runs)
    row = table[(table["variant"] == "random") & (table["pruning_ratio"] == ratio)].set_index("run")
    assert pd.isna(row.loc["keep", "rank"])
    assert row.loc["rebase", "rank"] >= 1
    (part,) = [one for one in rankings_text(table).split("removed: ") if one.startswith(f"{ratio}\n")]
    (line,) = [one for one in part.splitlines() if "random" in one]
    assert line.startswith("| random |  | ")
    assert "#" in line


def test_what_is_no_folder_is_no_run(folders: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for wrong in ("file", "none"):
        with pytest.raises(InputError, match=f"--run-dir: there is no folder '.*{wrong}'; give outputs/RUN"):
            read_runs([folders[0], str(tmp_path / wrong)])
