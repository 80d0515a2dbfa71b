"""Commands and Python of the documentation are run, or say what they need."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from conftest import ROOT
from documentation import (
    COMMANDS,
    LANGUAGES,
    MARKS,
    NEEDS,
    PYTHON,
    Block,
    all_blocks,
    blocks,
    environment,
    folder_of_a_clone,
    pages,
    runs,
    write_demo,
)

from hawk.cli.main import cli

BLOCKS = all_blocks()
COMMAND_BLOCKS = [block for block in BLOCKS if block.language == COMMANDS]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def python_of(page: str) -> str:
    return "".join(block.text for block in blocks(page) if block.language == PYTHON and runs(block))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the demo has run, with the files that pages show."""
    folder = folder_of_a_clone(tmp_path_factory.mktemp("clone"))
    write_demo(folder)
    for block in BLOCKS:
        if block.mark == "file":
            path = folder / str(block.value)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return folder


def call(folder: Path, *words: str, limit: int = 300) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=limit
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def shell(folder: Path, block: Block, limit: int = 300) -> str:
    return call(folder, "bash", "-euo", "pipefail", "-c", block.text, limit=limit)


def output_of(block: Block) -> Block | None:
    """The fence that shows what a block prints, if the next one does."""
    after = blocks(block.page)
    number = after.index(block) + 1
    shown = after[number] if number < len(after) else None
    return shown if shown and shown.mark in ("output", "output begins") else None


@pytest.mark.parametrize("block", [block for block in COMMAND_BLOCKS if runs(block)], ids=str)
def test_commands_run(block: Block, clone: Path) -> None:
    said = shell(clone, block)
    shown = output_of(block)
    if shown is not None and shown.mark == "output":
        assert said.strip() == shown.text.strip()
    if shown is not None and shown.mark == "output begins":
        assert said.startswith(shown.text)


@pytest.mark.long
@pytest.mark.parametrize("block", [block for block in COMMAND_BLOCKS if runs(block, long=True)], ids=str)
def test_long_commands_run(block: Block, tmp_path: Path) -> None:
    shell(folder_of_a_clone(tmp_path), block, limit=3600)


@pytest.mark.parametrize("page", [page for page in pages() if python_of(page)])
def test_python_runs(page: str, clone: Path) -> None:
    """All the Python of a page, in one process: later blocks use what earlier ones made."""
    call(clone, sys.executable, "-c", python_of(page))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_fence_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES, f"say which of {', '.join(LANGUAGES)} it is"
    assert block.mark is None or block.mark in MARKS
    if block.mark == "needs":
        said = re.split(r", | and | or ", str(block.value))
        assert set(said) <= set(NEEDS), f"needs: {block.value}; known are {', '.join(NEEDS)}"
    if block.mark == "run":
        assert block.value == "long"
    if block.mark == "run by":
        text = text_of(str(block.value))
        assert [command for command in block.commands if command not in text] == []
    if block.mark in ("output", "output begins"):
        before = blocks(block.page)[blocks(block.page).index(block) - 1]
        assert before.language == COMMANDS
        assert runs(before)
    if block.language == "yaml":
        assert yaml.safe_load(block.text)


def test_an_unmarked_command_is_run() -> None:
    """What the tests above rest on: a new fence without a mark is among those that are run."""
    unmarked = "```bash\nhawk show x  # why\nhawk plan \\\n    --config y\n```\n"
    marked = "<!-- needs: a GPU -->\n```bash\nls\n```\n"
    first, second = blocks("page.md", f"Text.\n\n{unmarked}\n{marked}")
    assert [runs(first), runs(second)] == [True, False]
    assert first.commands == ["hawk show x", "hawk plan --config y"]
    assert (first.line, second.line, second.value) == (3, 10, "a GPU")


def test_marks_stand_above_fences() -> None:
    """A mark with an empty line below it would mark nothing."""
    for page in pages():
        text = text_of(page)
        marks = re.findall(rf"^[ ]*<!-- (?:{'|'.join(MARKS)})(?::[^>]*)? -->$", text, re.MULTILINE)
        assert len(marks) == sum(block.mark is not None for block in blocks(page)), page


def test_the_runner_sees_a_failure(clone: Path) -> None:
    with pytest.raises(AssertionError, match="no such file"):
        shell(clone, Block("page.md", 1, COMMANDS, "hawk show outputs/none.parquet | cat\n", None, None))


def calls_of_hawk() -> list[tuple[str, str]]:
    """Every ``hawk …`` of a fence, run or not, and of the text."""
    found = []
    for block in COMMAND_BLOCKS:
        for command in block.commands:
            for part in re.split(r"&&|\||;", command):
                if match := re.match(r"(?:\S*/)?hawk (.*)", part.strip()):
                    found.append((str(block), match[1]))
    for page in pages():
        text = re.sub(r"^[ ]*```.*?^[ ]*```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
        found += [(page, inline) for inline in re.findall(r"`hawk ([a-z][^`]*)`", text)]
    return found


def test_every_call_of_hawk_has_a_command_and_options_that_exist() -> None:
    """Also of those commands that are not run here."""
    wrong = []
    for place, text in calls_of_hawk():
        words = shlex.split(text.replace("…", ""))
        command: click.Command | None = cli
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0) if words else "")
        if command is None:
            wrong.append((place, text))
            continue
        if command.context_settings.get("ignore_unknown_options"):
            continue  # the rest is for another program
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        wrong += [(place, word) for word in words if word.startswith("--") and word not in known]
    assert wrong == []
    assert len(calls_of_hawk()) > 30


def test_no_target_is_taken_for_a_config_file() -> None:
    """Snakemake's --configfile takes every word up to the next option."""
    swallowed = re.compile(r"snakemake [^`\n]*--configfile +[^\s`]+ +[A-Za-z][^\s`]*")
    assert swallowed.search("`snakemake --cores 2 --configfile config/config.yaml tables`")
    configs = [str(path.relative_to(ROOT)) for path in (ROOT / "config").rglob("*.yaml")]
    assert len(configs) > 10
    for page in [*pages(), *configs]:
        text = text_of(page).replace("\\\n", " ")
        assert swallowed.findall(text) == [], page


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for page in pages():
        used = re.findall(r"`?\bmake ([a-z-]+)(?=`|\s+#|$)", text_of(page), re.MULTILINE)
        assert [target for target in used if target not in targets] == [], page
