"""A disk that is full, read-only or refuses is one line and exit code 1, from steps and tools alike."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from hawk.cli.main import DISK, command_line, disk_reason

ROOT = Path(__file__).parent.parent.parent
CONFIG = {
    "run": "t",
    "seed": 0,
    "model": {"path": str(ROOT / "data/models/tiny-qwen2.5-vl"), "layers": 4, "heads": 8},
    "calibration": {"benchmarks": ["digits"], "samples": 4, "strict": False, "holdout": "disjoint"},
    "evaluation": {
        "benchmarks": ["digits"],
        "development": False,
        "variants": [{"name": "a", "method": "random"}],
    },
}
SAMPLES = "outputs/t/samples/calibration/digits.parquet"
COMMANDS = {
    "a step": [
        "prepare-samples",
        "--config",
        json.dumps(CONFIG),
        "outputs/t/samples/calibration/digits.parquet",
    ],
    "a tool": ["init", str(ROOT / "data/models/tiny-qwen2.5-vl"), "--output", "new.yaml"],
}
FAILING = {
    "full": ("replace", errno.ENOSPC, "no space is left on the disk"),
    "full when flushed": ("fsync", errno.ENOSPC, "no space is left on the disk"),
    "read-only": ("replace", errno.EROFS, "read-only"),
    "denied": ("replace", errno.EACCES, "permission denied"),
    "quota": ("fsync", errno.EDQUOT, "quota"),
}


@pytest.mark.parametrize("command", ["a step", "a tool"])
@pytest.mark.parametrize("failing", FAILING)
def test_one_line_from_every_command(
    command: str,
    failing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, number, said = FAILING[failing]

    def refuse(*words: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "the/file")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(sys, "argv", ["hawk", *COMMANDS[command]])
    assert command_line() == 1
    error = capsys.readouterr().err
    assert error.strip().splitlines()[-1] == next(
        line for line in error.splitlines() if line.startswith("error: the/file: ") and said in line
    )
    assert "Traceback" not in error + caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing is half-written"


def test_errors_that_libraries_wrap() -> None:
    class Wrapped(Exception):
        pass

    assert "no space" in str(disk_reason(Wrapped("Error while serializing: I/O error: x (os error 28)")))
    assert "no space" in str(disk_reason(OSError("Error writing bytes to file. Detail: [errno 28] No space")))
    outer = Wrapped("failed")
    outer.__cause__ = OSError(errno.EROFS, "x", "f")
    assert disk_reason(outer) == "f: the file system is read-only."
    assert disk_reason(ValueError("something else 28")) is None
    assert all(words.islower() or "I/O" in words for words in DISK.values())
