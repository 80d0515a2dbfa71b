"""The command line: every subcommand explains itself; mistakes are one clear line and code 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import EMBEDDED, ROOT

from hawk.cli.main import cli, main


def hawk(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hawk", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
    )


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


# Rules that share the command of another step: what they score differs, how they score does not.
SCORING = {"score_reference", "repeat_reference", "ablate_head", "score_baseline"}


def test_rule_step_command_and_file_have_one_name() -> None:
    import re

    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    rules = set(re.findall(r"^ *(?:use rule \w+ as|rule) (\w+)(?: with)?:", text, re.M))
    files = {path.stem for path in (ROOT / "hawk" / "steps").glob("*.py") if "\nREADS = " in path.read_text()}
    assert len(files) >= 12
    assert rules > SCORING
    named = rules - SCORING - {"cost"}
    # hawk/training/train.py, below the floor of steps: it knows neither a config nor a run.
    assert named | {"score_samples"} == files | {"train_tiny"}
    for name in files | {"train_tiny"}:
        assert name.replace("_", "-") in cli.commands, name
        called = set(re.findall(r"-m hawk ([a-z-]+)", text))
        assert name.replace("_", "-") in called, name


def test_every_rule_quotes_what_it_hands_to_the_shell() -> None:
    """Names are refused by the schema; quoting holds all the same."""
    import re

    for path in (ROOT / "rules").glob("*.smk"):
        for place in re.findall(r"\{(?:output|input|log|wildcards|params)[^}]*\}", path.read_text()):
            if place != "{wildcards.seed}":  # digits only
                assert place.endswith(":q}"), (path.name, place)


WRONG = [
    (["prepare-samples", "--config", "config/config.yaml", "x/y.parquet"], "is no path of this step"),
    (["prepare-samples", "--config", "none.yaml", "o/samples/a/b.parquet"], "config file 'none.yaml'"),
    (["prepare-samples", "--config", "config/config.yaml", "outputs/t/samples/calibration/nope.parquet"],
     "unknown benchmark 'nope'"),
    (["prepare-samples", "--config", "config/config.yaml", "outputs/t/samples/train/digits.parquet"],
     "unknown role 'train'"),
    (["score-samples", "--config", "config/config.yaml", "outputs/t/scores/digits/zero/L0H1.parquet"],
     "outputs/t/samples/calibration/digits.parquet: there is no such file"),
    (["init", "no/model/here"], "no such model folder"),
    (["init", "data/models/tiny-qwen2.5-vl/config.json"], "is a file; init takes the model's folder"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_mistakes_end_in_one_line_with_the_reason(words: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = hawk(*words, cwd=tmp_path)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.parquet"))


def test_init_reads_the_geometry_and_its_config_is_accepted(tmp_path: Path) -> None:
    from hawk.config.load import load_config
    from hawk.tools.init import write_config

    path = write_config(str(EMBEDDED), str(tmp_path / "new.yaml"))
    config = load_config(path)
    assert (config["model"]["layers"], config["model"]["heads"]) == (4, 8)
    done = hawk("init", str(EMBEDDED), "--output", str(path))
    assert done.returncode == 2
    assert "exists; use --force" in done.stderr


@pytest.mark.parametrize(
    "name", ["we ird: {x}", "a\nb", ".hidden", "x # y", "it's", "é" * 40, "a" * 200, "123", "null"]
)
def test_init_writes_what_can_be_read_whatever_the_folder_is_called(name: str, tmp_path: Path) -> None:
    from hawk.config.load import load_config
    from hawk.tools.init import write_config

    folder = tmp_path / name
    folder.symlink_to(EMBEDDED)
    config = load_config(write_config(str(folder), str(tmp_path / "new.yaml")))
    assert config["model"]["path"] == str(folder)


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_a_command_run_by_hawk_is_its_own(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed Snakemake must not look like a finished one."""

    def ended(with_code: int) -> None:
        raise SystemExit(with_code)

    monkeypatch.setattr("hawk.tools.warm.run_beside", lambda command: code)
    monkeypatch.setattr("hawk.tools.warm.delegate", lambda arguments: None)
    monkeypatch.setattr("gc.disable", lambda: None)
    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(sys, "argv", ["hawk", "warm", "snakemake", "--cores", "2"])
    with pytest.raises(SystemExit) as found:
        main()
    assert found.value.code == code
