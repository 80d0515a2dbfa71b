"""One GPU per job: fake devices, real processes and locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from hawk.core import gpu as gpu_slots
from hawk.core.errors import InputError

JOB = """
import os, sys
from pathlib import Path
from hawk.core.gpu import claim
claim("auto", Path(sys.argv[1]), patience=float(sys.argv[2]))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


class Job:
    """A process that claims a GPU, says which, and holds it until told to end."""

    def __init__(self, folder: Path, gpus: str, patience: float = 30) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        environment |= {"HAWK_GPUS": gpus, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(folder), str(patience)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    @property
    def device(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, sign: int | None = None) -> str:
        if sign is not None:
            self.process.send_signal(sign)
        return self.process.communicate("")[1]


def test_jobs_of_two_workflows_get_a_device_each_and_the_next_waits_for_one(tmp_path: Path) -> None:
    first = [Job(tmp_path, "0,1,2"), Job(tmp_path, "0,1,2")]  # of one workflow
    other = Job(tmp_path, "0,1,2")
    taken = {job.device: job for job in [*first, other]}
    assert set(taken) == {"0", "1", "2"}
    refused = Job(tmp_path, "0,1,2", patience=0)
    assert "no GPU became free" in refused.end()
    waiting = Job(tmp_path, "0,1,2")
    taken["1"].end()
    assert waiting.device == "1"
    for job in (taken["0"], taken["2"], waiting):
        job.end()


def test_a_killed_owner_releases_its_device(tmp_path: Path) -> None:
    owner = Job(tmp_path, "5")
    assert owner.device == "5"
    owner.end(signal.SIGKILL)
    heir = Job(tmp_path, "5", patience=0)
    assert heir.device == "5"
    heir.end()


def test_a_device_named_twice_takes_two_jobs(tmp_path: Path) -> None:
    jobs = [Job(tmp_path, "3,3") for _ in range(2)]
    assert [job.device for job in jobs] == ["3", "3"]
    assert "no GPU became free" in Job(tmp_path, "3,3", patience=0).end()
    for job in jobs:
        job.end()


def test_schedulers_and_configs_have_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAWK_GPUS", "0")
    for device in ("cpu", "cuda:1"):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert gpu_slots.claim(device, tmp_path) is None
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert gpu_slots.claim("auto", tmp_path) is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert not list(tmp_path.iterdir())


def test_no_gpus_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("HAWK_GPUS", "")
    assert gpu_slots.claim("auto", tmp_path) is None
    monkeypatch.setenv("HAWK_GPUS", "first")
    with pytest.raises(InputError, match=r"HAWK_GPUS='first': 'first' is no GPU number"):
        gpu_slots.claim("auto", tmp_path)


def test_a_claim_makes_the_file_young_and_a_replaced_file_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gpu0"
    file.touch()
    os.utime(file, (0, 0))
    handle = gpu_slots._try_lock(tmp_path, "gpu0")
    assert handle is not None
    assert file.stat().st_mtime > 1e9, "not one to clean away by its age"
    os.close(handle)

    flock = gpu_slots.fcntl.flock

    def replaced_meanwhile(*words: int) -> None:
        file.unlink()
        file.touch()
        flock(*words)

    monkeypatch.setattr(gpu_slots.fcntl, "flock", replaced_meanwhile)
    assert gpu_slots._try_lock(tmp_path, "gpu0") is None


def test_a_folder_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gpu_slots.os, "open", refuse)
    with pytest.raises(InputError, match=r"gpu0: not ours to open.*HAWK_GPUS= switches"):
        gpu_slots._try_lock(tmp_path, "gpu0")
