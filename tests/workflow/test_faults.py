"""Killed jobs, a killed Snakemake, a full disk, broken files: run again, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from copy import deepcopy
from pathlib import Path

import pytest
from faults import (
    FEW,
    SCORES,
    assert_clean,
    process_of,
    rewritten,
    started,
    until,
    versions,
)
from running import Workflow

CORES = 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> dict[str, str]:
    """Digests of a run that nothing happened to; all heads in one process, which changes none."""
    config = deepcopy(FEW)
    config["ablation"]["heads_per_job"] = "all"
    workflow = Workflow(tmp_path_factory.mktemp("undisturbed"), small_model, config)
    workflow.run("ablation")
    return workflow.digests()


def resume(workflow: Workflow) -> None:
    """What the documentation says after Snakemake itself was killed."""
    workflow.run("ablation", "--unlock")
    workflow.run("ablation")


def test_a_killed_snakemake_is_resumed_beside_its_own_orphans(
    tmp_path: Path, small_model: Path, undisturbed: dict[str, str]
) -> None:
    workflow = Workflow(tmp_path / "run", small_model, FEW)
    with started(workflow, "ablation") as snakemake:
        orphan = until("a head's job", lambda: process_of(workflow, f"{SCORES}/L0H"))
        finished = versions(workflow)
        snakemake.kill()
        snakemake.wait()
        os.kill(orphan, 0)  # it goes on alone, and the resumed run meets it
    assert len(finished) >= 2
    resume(workflow)
    # Whatever ended but was not yet noted when Snakemake died may run again: as many as ran at once.
    assert len(rewritten(finished, workflow)) <= CORES
    assert workflow.digests() == undisturbed
    until("the orphan's end", lambda: process_of(workflow, str(SCORES)) is None)
    assert_clean(workflow)


@pytest.mark.long
def test_snakemake_killed_at_ten_random_moments(
    tmp_path: Path, small_model: Path, undisturbed: dict[str, str]
) -> None:
    workflow = Workflow(tmp_path / "run", small_model, FEW)
    moments = random.Random(0)
    repeated = 0
    for _ in range(10):
        before = versions(workflow)
        with started(workflow, "ablation") as snakemake:
            time.sleep(moments.uniform(2, 12))
            snakemake.kill()
            snakemake.wait()
        workflow.run("ablation", "--unlock")
        repeated += len(rewritten(before, workflow))
    workflow.run("ablation")
    print(f"\n10 kills: {repeated} finished jobs ran again")
    assert repeated <= 10 * CORES
    until("the orphans' end", lambda: process_of(workflow, str(SCORES)) is None)
    assert workflow.digests() == undisturbed
    assert_clean(workflow)


@pytest.mark.long
def test_a_killed_job_fails_alone(tmp_path: Path, small_model: Path, undisturbed: dict[str, str]) -> None:
    workflow = Workflow(tmp_path / "run", small_model, FEW)
    with started(workflow, "ablation") as snakemake:
        os.kill(until("the job", lambda: process_of(workflow, f"{SCORES}/L0H1.parquet")), signal.SIGKILL)
        assert snakemake.wait(300) == 1
    before = versions(workflow)
    assert len(before) == 5, "keep-going makes all the others"
    assert workflow.planned("ablation") == {"ablate_head": 1, "ablation": 1}
    workflow.run("ablation")
    assert not rewritten(before, workflow)
    assert workflow.digests() == undisturbed
    assert_clean(workflow)


@pytest.mark.long
def test_a_full_disk(tmp_path: Path, small_model: Path, undisturbed: dict[str, str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    workflow = Workflow(tmp_path / "run", small_model, FEW)
    disk = workflow.folder / "outputs"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        workflow.run("ablation", code=1)
        logs = "".join(path.read_text() for path in disk.rglob("*.log"))
        assert "No space left on device" in logs or not logs
        assert not list(disk.rglob("*.tmp")), "a failed write takes its temporary file with it"
        before = versions(workflow)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        workflow.run("ablation")
        assert not rewritten(before, workflow)
        assert workflow.digests() == undisturbed
        assert_clean(workflow)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.long
def test_a_truncated_file_is_named_and_made_again(
    tmp_path: Path, small_model: Path, undisturbed: dict[str, str]
) -> None:
    workflow = Workflow(tmp_path / "run", small_model, FEW)
    samples = "outputs/few/samples/calibration/digits.parquet"
    workflow.run(samples)
    content = (workflow.folder / samples).read_bytes()
    (workflow.folder / samples).write_bytes(content[: len(content) // 2])
    workflow.run("ablation", code=1)
    log = workflow.folder / "outputs/few/logs/features/calibration/digits.log"
    assert f"{samples}: not a readable parquet file" in log.read_text()
    assert "Delete it and run again." in log.read_text()
    (workflow.folder / samples).unlink()
    workflow.run("ablation")
    assert workflow.digests() == undisturbed
    assert_clean(workflow)
