"""What people type wrongly on the first day: one clear line, exit code 2, before any work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import EMBEDDED

from hawk.cli.main import cli, command_line
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry

ROOT = Path(__file__).parent.parent.parent
GENERATE = ["generate", str(EMBEDDED), "which digit is red?"]
PICTURE = ["--image", str(ROOT / "tests/none.png")]


def hawk(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["hawk", *words])
    code = command_line()
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    return code, out, error


WRONG = {
    "a folder that is no run": (["show", "."], "this folder is no run; hawk show takes a run's folder"),
    "an overlay into a folder": (
        [*GENERATE, *PICTURE, "--save-overlay", "."],
        "'.' is a folder; give a file",
    ),
    "an overlay of no format": (
        [*GENERATE, *PICTURE, "--save-overlay", "x.mp3"],
        "the name must end in .png",
    ),
    "an overlay without ending": ([*GENERATE, *PICTURE, "--save-overlay", "x"], "the name must end in .png"),
    "an overlay under a file": ([*GENERATE, *PICTURE, "--save-overlay", "file/x.png"], "file is no folder"),
    "no CUDA": ([*GENERATE, *PICTURE, "--device", "cuda:999"], "--device 'cuda:999': torch sees"),
    "no device": ([*GENERATE, *PICTURE, "--device", "gpu"], "--device 'gpu': allowed are auto"),
    "two ratios": ([*GENERATE, *PICTURE, "--ratio", "0.5", "--ratio", "0.8"], "--ratio is given twice; once"),
    "an option twice": (
        [*GENERATE, *PICTURE, "--option", "layer=1", "--option", "layer=2"],
        "--option layer is given twice, as '1' and '2'; once is allowed",
    ),
    "a value twice": (["sensitivity", "--run-dir", "a", "--run-dir", "a"], "--run-dir 'a' is given twice"),
    "a configuration twice": (["plan", "--config", "a", "--config", "a"], "--config is given twice"),
    "a subcommand's twice": (
        ["export", "heads", "file", "--format", "csv", "--format", "csv", "--output", "x"],
        "--format is given twice",
    ),
    "figures of all runs": (["make-figures", "--config", "{}", "--run-dir", "."], "is no run's folder"),
    "a protocol": (
        ["score", "--benchmark", "mme", "--protocol", "foo", "--predictions", "file"],
        "unknown --protocol 'foo'",
    ),
    "a definition without data": (
        ["score", "--benchmark", "own", "--definition", "own.yaml", "--predictions", "file"],
        "its data file none.csv does not exist",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_clear_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = WRONG[case]
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    Path("own.yaml").write_text(
        "file: none.csv\ncolumns: {question: q, answer: a, image: i}\nprompt: '{question}'\nparser: text\n"
        "metric: equal\n"
    )
    code, _, error = hawk(words, monkeypatch, capsys)
    assert code == 2
    assert said in error.strip().splitlines()[-1]


def test_shipped_weights_are_shown_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = hawk(["show", "qwen2.5-vl-7b"], monkeypatch, capsys)
    assert code == 0
    assert "Qwen/Qwen2.5-VL-7B-Instruct, layer 0: 28 heads" in out


def test_a_runs_folder_lists_what_can_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    HeadWeights.uniform(Geometry(2, 4, 2, 8)).save(tmp_path / "head_weights/zero/pooled.json")
    code, out, _ = hawk(["show", "."], monkeypatch, capsys)
    assert code == 0
    path = out.splitlines()[-1].split()[0]
    assert path == "head_weights/zero/pooled.json"
    assert hawk(["show", path], monkeypatch, capsys)[0] == 0


def test_a_prompt_without_pictures_is_said_to_be_unpruned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = hawk([*GENERATE, "--max-new-tokens", "1"], monkeypatch, capsys)
    assert code == 0
    assert "no visual tokens, so nothing is pruned" in error


def test_weights_of_another_model_of_the_family_are_used_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog
) -> None:
    own = {"id": "someone/other", "family": "qwen2_5_vl"}
    HeadWeights((1 / 8,) * 8, Geometry(4, 8, 4, 16), model=own).save(tmp_path / "w.json")
    words = [*GENERATE, "--max-new-tokens", "1", "--weights", str(tmp_path / "w.json")]
    assert hawk(words, monkeypatch, capsys)[0] == 0
    assert "were measured on someone/other and are used on" in caplog.text


@pytest.mark.parametrize(
    ("words", "handed"),
    [
        (
            ["warm", "snakemake", "--cores", "1", "--", "tables"],
            ("snakemake", "--cores", "1", "--", "tables"),
        ),
        (["warm", "echo", "--help"], ("echo", "--help")),
        (["run", "--cores", "1", "--", "tables"], ("--cores", "1", "--", "tables")),
        (["run", "--cores", "1"], ("--cores", "1")),
        (["run", "--", "--configfile"], ("--", "--configfile")),
    ],
)
def test_dashes_before_targets_are_handed_on(
    words: list[str], handed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr("hawk.tools.warm.run_beside", lambda command: seen.append(command) or 0)
    monkeypatch.setattr("hawk.tools.run.run", lambda config, arguments, full: seen.append(arguments) or 0)
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert seen == [handed]


def test_an_unused_bad_entry_under_data_is_told_when_the_config_is_read(tmp_path: Path) -> None:
    from hawk.config.checks import check
    from hawk.config.load import fill

    raw = {
        "run": "r",
        "model": {"path": "someone/model", "layers": 4, "heads": 8},
        "calibration": {"benchmarks": ["digits"]},
        "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "v", "method": "random"}]},
    }
    check(fill(raw, "c"))
    (tmp_path / "bad.yaml").write_text("file: 3\n")
    columns = "columns: {question: q, answer: a, image: i}\nprompt: '{question}'\n"
    (tmp_path / "own.yaml").write_text(f"file: own.yaml\n{columns}")
    (tmp_path / "folder.yaml").write_text(f"file: table\n{columns}")
    (tmp_path / "table").mkdir()
    for entry, said in (
        ({"unused": {"definition": str(tmp_path / "bad.yaml")}}, "bad.yaml"),
        ({"unused": {"definition": str(tmp_path / "none.yaml")}}, "none.yaml"),
        ({"unused": {}}, "unknown benchmark 'unused'"),
        ({"gqa": {"path": 3}}, r"data.gqa.path is 3; it must be text"),
        ({"gqa": {"split": None}}, r"data.gqa.split is None; it must be text"),
        ({"videomme": {"videos": ["x"]}}, r"data.videomme.videos is \['x'\]; it must be text"),
        ({"digits": {"path": "x"}}, r"unknown key \(data.digits\) 'path'. .*Allowed: protocol, scene_seed"),
        ({"digits": {"scene_seed": "x"}}, r"data.digits.scene_seed is 'x'; it must be a whole number"),
        ({"easy_vqa": {"scene_seed": 3}}, r"unknown key \(data.easy_vqa\) 'scene_seed'. Allowed: protocol"),
        ({"own": {"definition": str(tmp_path / "own.yaml")}}, r"unknown kind of file \(.*own.yaml\) '.yaml'"),
        ({"own": {"definition": str(tmp_path / "folder.yaml")}}, r"neither a parquet file nor a folder"),
    ):
        with pytest.raises(InputError, match=said):
            check(fill({**raw, "data": entry}, "c"))
    (tmp_path / "table/part.parquet").write_bytes(b"")  # a folder of tables is one table
    check(fill({**raw, "data": {"own": {"definition": str(tmp_path / "folder.yaml")}}}, "c"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", r"model/config.json: not a model's config \(Expecting"),
        ("[]", r"model/config.json is \[\]; it must be a table"),
        ('{"text_config": "x"}', r"config.json: text_config is 'x'; it must be a table"),
        ('{"num_hidden_layers": 5}', r"model.layers is 4, but .* says num_hidden_layers 5"),
    ],
)
def test_a_model_folder_whose_config_is_none_is_told_when_the_config_is_read(
    content: str, said: str, tmp_path: Path
) -> None:
    from hawk.config.checks import check
    from hawk.config.load import fill

    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(content)
    raw = {
        "run": "r",
        "model": {"path": str(tmp_path / "model"), "layers": 4, "heads": 8},
        "calibration": {"benchmarks": ["digits"]},
        "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "v", "method": "random"}]},
    }
    with pytest.raises(InputError, match=said):
        check(fill(raw, "c"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*GENERATE, *PICTURE, "--save-overlay", ""], "give a file"),
        ([*GENERATE, *PICTURE, "--min-pixels", "9", "--max-pixels", "8"], "--min-pixels 9 is larger than"),
        ([*GENERATE, *PICTURE, "--option", "rope=maybe"], "rope is 'maybe'; it must be true or false"),
        ([*GENERATE, *PICTURE, "--option", "layer=1.5"], "layer is 1.5; it must be a whole number or null"),
        (
            [*GENERATE, *PICTURE, "--method", "random", "--option", "seed=x"],
            "seed is 'x'; it must be a whole",
        ),
        ([*GENERATE, *PICTURE, "--method", "mmr", "--option", "trade_off=.nan"], "trade_off is nan"),
        (["init", str(EMBEDDED), "--output", ".", "--force"], "'.' is a folder; give the name of a file"),
        (["init", str(EMBEDDED), "--output", "file/x.yaml"], "file is no folder"),
        (["score", "--benchmark", "mme", "--predictions", "file", "--rows", "."], "'.' is a folder"),
        (["sensitivity", "--run-dir", ".", "--output", "file/x.csv"], "file is no folder"),
        (
            ["head-drops", "--config", "config", "--ablation", "../../x/y"],
            "--ablation is '../../x/y'; it must",
        ),
        (["head-drops", "--config", "config", "--ablation", ""], "--ablation is ''; it must be 1 to 64"),
        (
            ["score", "--benchmark", "gqa", "--definition", "mine.yaml", "--predictions", "p.jsonl"],
            "--definition is for a benchmark of your own; 'gqa' is one of hawk's",
        ),
        (["init", str(EMBEDDED), "--output", ""], "'' is a folder; give the name of a file in it"),
        (["plan", "--config", "config", "--parameters", "nan"], "--parameters nan: a finite number"),
        (["plan", "--config", "config", "--parameters", "7"], "--parameters 7: only an estimate asks for it"),
        ([*GENERATE[:2], "red\udcff?"], "the prompt is 'red\\udcff?'; it must be text that UTF-8 can hold"),
        (["run", "--configfile", "", "-n"], "config file '': there is no such file"),
        (["train-tiny", "new", "--seed", "-1"], "-1 is not in the range 0<=x<=4294967295"),
        (["train-tiny", "new", "--seed", str(2**32)], "4294967296 is not in the range"),
    ],
)
def test_a_value_that_would_be_dropped_or_fail_later_is_refused(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    code, _, error = hawk(words, monkeypatch, capsys)
    assert code == 2
    assert said in error.strip().splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_has_no_revision() -> None:
    from hawk.models.loading import load

    with pytest.raises(InputError, match="is a folder here, which has no revision 'abc'"):
        load(str(EMBEDDED), revision="abc")


def commands(group: click.Group) -> Iterator[click.Command]:
    for one in group.commands.values():
        yield from commands(one) if isinstance(one, click.Group) else [one]


@pytest.mark.parametrize("command", commands(cli), ids=lambda one: one.name)
def test_no_command_takes_the_last_of_two(command: click.Command) -> None:
    """A new command that is none of ours would; and two pictures may be the same."""
    for option in command.params:
        if isinstance(option, click.Option) and not option.count:
            words = [option.opts[0]] if option.is_flag else [option.opts[0], "1"]
            context = click.Context(command, resilient_parsing=True)
            if option.name == "images":
                command.parse_args(context, words * 2)
                continue
            with pytest.raises(InputError, match="is given twice; once is allowed"):
                command.parse_args(context, words * 2)
