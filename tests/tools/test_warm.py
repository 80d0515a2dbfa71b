"""Jobs as forks of a warm process: the same result and exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from warming import ENVIRONMENT, warmed

from hawk.tools import warm

HAWK = [sys.executable, "-m", "hawk"]


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, str]]:
    with warmed() as environment:
        yield environment
    folder = environment[warm.VARIABLE]
    deadline = time.monotonic() + 60
    while running(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(folder)
    assert not Path(folder).exists()


def running(folder: str) -> bool:
    """Does the warm process of a folder still accept jobs?"""
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(Path(folder, "socket")))
        except OSError:
            return False
        return True


def hawk(environment: dict[str, str], *words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HAWK, *words], env=environment, capture_output=True, text=True, cwd=folder, timeout=300
    )


def test_a_job_prints_fails_and_knows_its_folder_as_if_alone(served: dict[str, str], tmp_path: Path) -> None:
    shown = ["show", str(ROOT / "data/head_weights/qwen2.5-vl-7b.json")]
    for words in (shown, ["show", "missing.json"], ["no-such-command"], ["--version"]):
        alone, forked = hawk(ENVIRONMENT, *words), hawk(served, *words)
        assert (alone.returncode, alone.stdout, alone.stderr) == (
            forked.returncode,
            forked.stdout,
            forked.stderr,
        )
    (tmp_path / "here.json").write_text("{}")
    assert "here.json" in hawk(served, "show", "here.json", folder=tmp_path).stderr


def test_the_work_is_done_in_the_warm_process(served: dict[str, str]) -> None:
    """Not silently outside: the job's own process imports neither torch nor our steps."""
    script = (
        "import sys; from hawk.tools import warm; code = warm.delegate(['--version']);"
        "assert code == 0, code; assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        env={**served, "TORCHINDUCTOR_CACHE_DIR": "/elsewhere"},
        check=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"OMP_NUM_THREADS": "2"},
        {"HF_HOME": "/elsewhere"},
        {"XDG_CACHE_HOME": "/elsewhere"},
        {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
        {"SLURM_JOB_ID": "7"},
    ],
)
def test_other_surroundings_need_a_process_of_their_own(
    served: dict[str, str], change: dict[str, str]
) -> None:
    script = "from hawk.tools import warm; assert warm.delegate(['--version']) is None"
    subprocess.run([sys.executable, "-c", script], env={**served, **change}, check=True, cwd=ROOT)


def test_without_a_warm_process_the_job_does_its_own_work(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text(json.dumps(warm.identity(ENVIRONMENT)))
    done = hawk({**ENVIRONMENT, warm.VARIABLE: str(tmp_path)}, "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("hawk ")


def test_an_interrupted_job_says_so(served: dict[str, str], tmp_path: Path) -> None:
    from hawk.core.atomic import output_lock

    output = tmp_path / "outputs/x/samples/calibration/digits.parquet"
    output.parent.mkdir(parents=True)
    words = ["prepare-samples", "--config", str(ROOT / "config/config.yaml"), str(output)]
    with (
        output_lock(output),
        subprocess.Popen(
            [*HAWK, *words], env=served, cwd=ROOT, stderr=subprocess.PIPE, text=True,
            # A shell's background jobs, as these tests may be one, ignore interrupts; so would the job.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as job,
    ):  # fmt: skip
        deadline = time.monotonic() + 60
        while not waiting_on(output) and time.monotonic() < deadline:
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)
        try:
            _, said = job.communicate(timeout=60)
        finally:
            job.kill()
        while waiting_on(output) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not waiting_on(output)
    assert job.returncode == 130
    assert said == "error: interrupted; nothing was half-written.\n"


def test_a_killed_job_takes_its_child_with_it(served: dict[str, str], tmp_path: Path) -> None:
    """The child waits for a lock that we hold; its argument tells which process it is."""
    from hawk.core.atomic import output_lock

    output = tmp_path / "outputs/x/samples/calibration/digits.parquet"
    output.parent.mkdir(parents=True)
    words = ["prepare-samples", "--config", str(ROOT / "config/config.yaml"), str(output)]
    with output_lock(output), subprocess.Popen([*HAWK, *words], env=served, cwd=ROOT) as job:
        deadline = time.monotonic() + 60
        while not (children := waiting_on(output)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert children
        job.kill()
        while waiting_on(output) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not waiting_on(output)
    assert not output.exists()


def waiting_on(output: Path) -> list[str]:
    """Processes other than this one with the output's lock file open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = {str(file.readlink()) for file in (process / "fd").iterdir()}
        except OSError:
            continue
        if int(process.name) != os.getpid() and any(str(output.parent) in path for path in opened):
            found.append(process.name)
    return found


def test_an_unknown_command_is_named(tmp_path: Path) -> None:
    done = hawk(ENVIRONMENT, "warm", "no-such-program")
    assert done.returncode == 2
    assert "no-such-program" in done.stderr
