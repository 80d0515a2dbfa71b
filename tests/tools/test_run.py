"""The Snakemake command that hawk run starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT

from hawk.core.errors import InputError
from hawk.core.shipped import config_file
from hawk.tools.run import command, run

START = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_config_it_is_the_demo() -> None:
    assert command(None) == [*START, "--configfile", str(ROOT / "config/config.yaml")]


@pytest.mark.parametrize("name", ["tiny_internvl", "tiny_internvl.yaml", "config/tiny_internvl.yaml"])
def test_a_shipped_config_by_name(name: str) -> None:
    assert command(name)[-1] == str(ROOT / "config/tiny_internvl.yaml")


def test_a_file_here_wins_over_a_shipped_one(elsewhere: Path) -> None:
    (elsewhere / "tiny_internvl").write_text("run: mine\n")
    assert config_file("tiny_internvl") == Path("tiny_internvl")


def test_an_unknown_config_is_one_line_with_the_shipped_names() -> None:
    with pytest.raises(InputError, match=r"config file 'nope'.*config, internvl3_8b.*tiny_internvl\.$"):
        command("nope")


def test_targets_stand_before_the_config_which_would_swallow_them() -> None:
    config = ["--configfile", str(ROOT / "config/config.yaml")]
    assert command(None, ["-c2", "samples"]) == [*START, "-c2", "samples", *config]
    assert command(None, ["-c2", "--", "samples"]) == [*START, "-c2", *config, "--", "samples"]


def test_names_of_shipped_profiles_are_found_from_any_folder(elsewhere: Path) -> None:
    slurm = str(ROOT / "profiles/slurm")
    assert command(None, ["--profile", "slurm", "-n"])[5:8] == ["--profile", slurm, "-n"]
    assert command(None, ["--profile=slurm"])[5] == f"--profile={slurm}"
    assert command(None, ["--profile", "site", "slurm", "-n"])[5:9] == ["--profile", "site", slurm, "-n"]
    # A word elsewhere is no profile, and one that lies here is the user's own.
    assert command(None, ["-n", "slurm"])[5:7] == ["-n", "slurm"]
    (elsewhere / "slurm").mkdir()
    assert command(None, ["--profile", "slurm"])[6] == "slurm"


def test_the_exit_code_is_that_of_snakemake(elsewhere: Path) -> None:
    assert run(None, ["--no-such-option"]) not in (0, None)


@pytest.mark.parametrize("words", [["--configfiles", "a.yaml", "b.yaml"], ["--configfiles=a.yaml"]])
def test_a_second_config_is_refused(words: list[str]) -> None:
    """Snakemake takes the last of two, which is the demo's: another run than was asked for."""
    with pytest.raises(InputError, match=r"--configfiles.*: hawk run takes one config, as --configfile"):
        run(None, words)
