"""What fault tests do to a run: start it, find a job's process, kill, and count what ran again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from conftest import ROOT
from running import SMALL, Workflow

# Five jobs and their samples: features, reference, repeat, two heads.
FEW: dict[str, Any] = deepcopy(SMALL)
FEW["run"] = "few"
FEW["calibration"] = {"benchmarks": ["digits"], "samples": 8}
FEW["ablation"] = {"recipes": [{"name": "zero", "intervention": "zero"}]}
FEW["evaluation"] |= {"benchmarks": ["digits"], "variants": SMALL["evaluation"]["variants"][1:2]}
SCORES = "outputs/few/scores/digits/zero"
FILES = 6  # tables and features


def until(what: str, found: Callable[[], Any], seconds: float = 240) -> Any:
    """The first true value of ``found()``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"waited {seconds:.0f} s for {what}")


def process_of(workflow: Workflow, text: str) -> int | None:
    """Pid of this run's hawk process with ``text`` in its command line (not the shells around it)."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
            state = (path.parent / "stat").read_text().rsplit(")", 1)[1].split()[0]
            here = (path.parent / "cwd").readlink() == workflow.folder.resolve()
        except OSError:
            continue
        if here and state != "Z" and words[1:3] == ["-m", "hawk"] and any(text in word for word in words):
            return int(path.parent.name)
    return None


@contextmanager
def started(workflow: Workflow, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The workflow, running in the background; what it prints goes to a file beside it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(workflow.folder / "printed.log", "ab") as printed:
        process = subprocess.Popen(
            workflow.command(*words), stdout=printed, stderr=printed, cwd=workflow.folder, env=environment
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(120)


def versions(workflow: Workflow) -> dict[str, tuple[int, int]]:
    """Output → what changes if it is written again."""
    files = [*workflow.outputs(), *workflow.folder.glob("outputs/**/*.safetensors")]
    return {
        str(path.relative_to(workflow.folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in files
    }


def rewritten(before: dict[str, tuple[int, int]], workflow: Workflow) -> set[str]:
    """Which of the finished outputs were made again."""
    now = versions(workflow)
    return {path for path, version in before.items() if now.get(path) != version}


def assert_clean(workflow: Workflow) -> None:
    """Everything is there and no trace of what was broken off."""
    assert len(versions(workflow)) == FILES
    left = [path.name for path in (workflow.folder / "outputs").rglob(".*")]
    assert not left, left
