"""Jobs killed, cancelled and late; a node, the controller and Snakemake gone. On a real Slurm.

After each: run again as docs/cluster.md says; everything is there, digests are an undisturbed run's,
and no finished job has run twice. Minutes each, so ``make test-long`` only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from cluster import Cluster, why_not
from test_slurm import SlurmWorkflow
from workflow.faults import FEW, SCORES, assert_clean, process_of, rewritten, started, until, versions
from workflow.running import Workflow

pytestmark = [pytest.mark.slurm, pytest.mark.long]

JOB = f"{SCORES}/L0H1.parquet"


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAWK_POLL_SECONDS", "5")


@pytest.fixture(scope="module", params=[False, True], ids=["squeue", "sacct"])
def any_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    cluster = Cluster(accounting=request.param, slurmd_timeout=10)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> dict[str, str]:
    config = deepcopy(FEW)
    config["ablation"]["heads_per_job"] = "all"
    workflow = Workflow(tmp_path_factory.mktemp("undisturbed"), small_model, config)
    workflow.run("ablation")
    return workflow.digests()


@pytest.fixture
def run(tmp_path: Path, small_model: Path) -> SlurmWorkflow:
    """With the features made already, so that a test's jobs are those of the scores."""
    workflow = SlurmWorkflow(tmp_path / "run", small_model, FEW)
    workflow.run("outputs/few/features/calibration/digits/native.safetensors", "--executor", "local")
    return workflow


def job_id(cluster: Cluster, comment: str) -> str:
    lines = cluster.call("squeue", "-h", "-o", "%A %k").splitlines()
    return next((line.split()[0] for line in lines if line.endswith(comment)), "")


def check(run: SlurmWorkflow, before: dict[str, tuple[int, int]], undisturbed: dict[str, str]) -> None:
    assert not rewritten(before, run)
    assert run.digests() == undisturbed
    assert_clean(run)


def test_a_killed_job_is_retried(any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict) -> None:
    with started(run, "ablation") as snakemake:
        os.kill(until("the job", lambda: process_of(run, JOB)), signal.SIGKILL)
        before = versions(run)
        assert snakemake.wait(400) == 0, "the profile's retries make it good"
    check(run, before, undisturbed)
    text = (run.folder / "printed.log").read_text()
    assert text.count("submitted with SLURM jobid") == 5


def test_a_cancelled_job_is_retried(any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict) -> None:
    with started(run, "ablation") as snakemake:
        until("the job", lambda: process_of(run, JOB))
        any_cluster.call("scancel", job_id(any_cluster, "L0H1"))
        assert snakemake.wait(400) == 0
    check(run, {}, undisturbed)


def test_a_job_past_its_time_limit_gets_more(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict
) -> None:
    """A stopped process stands for a slow one; the second attempt is allowed twice the time."""
    with started(run, "ablation", "--set-resources", "ablate_head:runtime=attempt") as snakemake:
        os.kill(until("the job", lambda: process_of(run, JOB)), signal.SIGSTOP)
        assert snakemake.wait(500) == 0
    check(run, {}, undisturbed)
    states = any_cluster.call("scontrol", "--oneliner", "show", "job")
    assert "JobState=TIMEOUT" in states
    assert "TimeLimit=00:02:00" in states


def test_a_node_goes_down(any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict) -> None:
    with started(run, "ablation") as snakemake:
        until("the job", lambda: process_of(run, JOB))
        identity = job_id(any_cluster, "L0H1")
        node = any_cluster.call("squeue", "-h", "-j", identity, "-o", "%N").strip()
        any_cluster.end(f"slurmd-{node}", signal.SIGKILL)
        any_cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        try:
            code = snakemake.wait(500)
        finally:
            any_cluster.start_node(node)
            any_cluster.call("scontrol", "update", f"nodename={node}", "state=resume")
    if code != 0:
        run.run("ablation")
    check(run, {}, undisturbed)


def test_snakemake_is_killed_and_its_jobs_go_on(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict
) -> None:
    with started(run, "ablation") as snakemake:
        orphan = until("the job", lambda: process_of(run, JOB))
        before = versions(run)
        # ``timeout`` is between us and Snakemake: end both, softly neither.
        children = Path(f"/proc/{snakemake.pid}/task/{snakemake.pid}/children").read_text().split()
        for pid in [*map(int, children), snakemake.pid]:
            os.kill(pid, signal.SIGKILL)
        snakemake.wait()
        os.kill(orphan, 0)
    run.run("ablation", "--unlock")
    run.run("ablation")
    check(run, before, undisturbed)


@pytest.mark.parametrize("seconds", [3, 30])
def test_the_controller_is_away(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict, seconds: int
) -> None:
    """With an accounting database nothing is noticed. With squeue a query that fails makes the plugin
    forget its jobs: it waits for ever, until SIGINT; then the same command finishes the work."""
    with started(run, "ablation") as snakemake:
        until("the job", lambda: process_of(run, JOB))
        any_cluster.end("slurmctld")
        time.sleep(seconds)
        any_cluster.start_controller()
        try:
            code = snakemake.wait(180)
        except subprocess.TimeoutExpired:
            assert not any_cluster.accounting, "with sacct an outage must not matter"
            until("an empty queue", lambda: not any_cluster.call("squeue", "-h").strip())
            snakemake.send_signal(signal.SIGINT)
            code = snakemake.wait(60)
            assert code != 0
    before = versions(run)
    if code != 0:
        assert not any_cluster.accounting
        run.run("ablation", "--unlock")
        run.run("ablation")
    check(run, before, undisturbed)
