"""Jobs killed, cancelled and late; a node, the controller, Snakemake and disk space gone. On a real Slurm.

After each: run again as docs/cluster.md says; everything is there, digests are an undisturbed run's,
and no finished job has run twice. Minutes each, so ``make test-long`` only.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from cluster import Cluster, why_not
from faults import FEW, FILES, SCORES, assert_clean, process_of, rewritten, started, until, versions
from running import Workflow
from test_slurm import SlurmWorkflow, jobs_of

pytestmark = [pytest.mark.slurm, pytest.mark.long]

JOB = f"{SCORES}/L0H1.parquet"
# Most faults don't depend on who answers for the jobs; without a database is the harder case.
WITHOUT_DATABASE = pytest.mark.parametrize("any_cluster", [False], indirect=True, ids=["queue"])


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAWK_POLL_SECONDS", "5")


@pytest.fixture(scope="module", params=[False, True], ids=["queue", "database"])
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
    workflow.run("outputs/few/features/calibration/digits.safetensors", "--executor", "local")
    return workflow


def job_id(cluster: Cluster, comment: str) -> str:
    lines = cluster.call("squeue", "-h", "-o", "%A %k").splitlines()
    return next((line.split()[0] for line in lines if line.endswith(comment)), "")


def check(run: SlurmWorkflow, before: dict[str, tuple[int, int]], undisturbed: dict[str, str]) -> None:
    assert not rewritten(before, run)
    assert run.digests() == undisturbed
    assert_clean(run)


@WITHOUT_DATABASE
def test_a_killed_job_is_retried(any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict) -> None:
    with started(run, "ablation") as snakemake:
        os.kill(until("the job", lambda: process_of(run, JOB)), signal.SIGKILL)
        before = versions(run)
        assert snakemake.wait(400) == 0, "the profile's retries make it good"
    check(run, before, undisturbed)
    text = (run.folder / "printed.log").read_text()
    assert text.count("submitted with SLURM jobid") == 5


# With a database too: it says "CANCELLED by" somebody.
def test_a_cancelled_job_is_retried(any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict) -> None:
    with started(run, "ablation") as snakemake:
        until("the job", lambda: process_of(run, JOB))
        before = versions(run)
        any_cluster.call("scancel", job_id(any_cluster, "L0H1"))
        assert snakemake.wait(400) == 0
    check(run, before, undisturbed)


@WITHOUT_DATABASE
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
        before = versions(run)
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
    check(run, before, undisturbed)


def kill(snakemake: subprocess.Popen[bytes]) -> None:
    """``timeout`` is between us and Snakemake: end both, softly neither."""
    children = Path(f"/proc/{snakemake.pid}/task/{snakemake.pid}/children").read_text().split()
    for pid in [*map(int, children), snakemake.pid]:
        os.kill(pid, signal.SIGKILL)
    snakemake.wait()


@WITHOUT_DATABASE
def test_snakemake_is_killed_and_its_jobs_go_on(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict
) -> None:
    with started(run, "ablation") as snakemake:
        orphan = until("the job", lambda: process_of(run, JOB))
        before = versions(run)
        kill(snakemake)
        os.kill(orphan, 0)
    run.run("ablation", "--unlock")
    run.run("ablation")
    check(run, before, undisturbed)


@WITHOUT_DATABASE
def test_snakemake_is_killed_at_ten_random_moments(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict
) -> None:
    """Every restart submits what is not there yet, beside the jobs that still run: the lock of an output
    lets the second wait and find the first one's file. Only what had ended but was not yet noted may be
    made again."""
    moments = random.Random(1)
    repeated: set[str] = set()
    for _ in range(10):
        before = versions(run)
        with started(run, "ablation") as snakemake:
            time.sleep(moments.uniform(3, 15))
            if snakemake.poll() is None:
                kill(snakemake)
        repeated |= rewritten(before, run)
        run.run("ablation", "--unlock")
    before = versions(run)
    run.run("ablation")
    until("an empty queue", lambda: not any_cluster.call("squeue", "-h").strip())
    print(f"\n10 kills: {len(repeated)} finished outputs were made again")
    assert len(repeated) <= 4
    check(run, before, undisturbed)


@WITHOUT_DATABASE
def test_a_truncated_file_fails_three_times_with_more_each_time(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict
) -> None:
    """Retries: exactly N + 1 Slurm jobs, each with more memory and time; then the log says what to do."""
    samples = run.folder / "outputs/few/samples/calibration/digits.parquet"
    whole = samples.read_bytes()
    stamp = samples.stat()
    samples.write_bytes(whole[: len(whole) // 2])
    os.utime(samples, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    text = run.run(JOB, code=1)
    (run_id,) = re.findall(r"SLURM run ID: (\S+)", text)
    jobs = sorted(jobs_of(any_cluster, run_id), key=lambda job: int(job["JobId"]))
    assert [job["JobState"] for job in jobs] == ["FAILED"] * 3
    memory = [float(job["MinMemoryNode"].rstrip("MG")) for job in jobs]
    assert memory[1] == pytest.approx(1.5 * memory[0], rel=0.01), memory
    assert memory[2] == pytest.approx(2.25 * memory[0], rel=0.01), memory
    assert [job["TimeLimit"] for job in jobs] == ["00:15:00", "00:30:00", "01:00:00"]
    log = (run.folder / "outputs/few/logs/scores/digits/zero/L0H1.log").read_text()
    assert "digits.parquet: not a readable parquet file" in log
    assert "Delete it and run again." in log
    samples.unlink()
    run.run("ablation")
    check(run, {}, undisturbed)


@WITHOUT_DATABASE
def test_a_full_disk(any_cluster: Cluster, tmp_path: Path, small_model: Path, undisturbed: dict) -> None:
    """Room for what was there before the scores, and for a page or two more."""
    run = SlurmWorkflow(tmp_path / "run", small_model, FEW)
    disk = run.folder / "outputs"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
    try:
        run.run("outputs/few/features/calibration/digits.safetensors", "--executor", "local")
        space = os.statvfs(disk)
        used = (space.f_blocks - space.f_bfree + 2) * space.f_frsize
        subprocess.run(["mount", "-o", f"remount,size={used}", str(disk)], check=True)
        run.run("ablation", code=1)
        assert not list(disk.rglob("*.tmp")), "a failed write takes its temporary file with it"
        before = versions(run)
        assert len(before) < FILES
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        run.run("ablation")
        check(run, before, undisturbed)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def told(run: SlurmWorkflow) -> str:
    log = run.folder / ".snakemake/slurm-queue/status.log"
    return log.read_text() if log.exists() else ""


@pytest.mark.parametrize("seconds", [3, 30])
def test_the_controller_is_away(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict, seconds: int
) -> None:
    """Nothing is lost and nothing waits for ever, with a database or without one: a query that is not
    answered is no news (profiles/slurm/bin). With the plugin's own squeue, 30 s end in a silent wait."""
    with started(run, "ablation") as snakemake:
        until("the job", lambda: process_of(run, JOB))
        any_cluster.end("slurmctld")
        time.sleep(seconds)
        if seconds == 30 and not any_cluster.accounting:
            until("a query during the outage", lambda: "does not answer" in told(run))
        any_cluster.start_controller()
        assert snakemake.wait(400) == 0
    check(run, {}, undisturbed)
    text = (run.folder / "printed.log").read_text()
    assert len(re.findall(r"submitted with SLURM jobid", text)) == 4, "no job ran twice"
    if seconds == 30 and not any_cluster.accounting:
        assert text.count("Slurm does not answer") == text.count("Slurm answers again") == 1


@WITHOUT_DATABASE
def test_the_controller_stays_away_and_somebody_interrupts(
    any_cluster: Cluster, run: SlurmWorkflow, undisturbed: dict
) -> None:
    with started(run, "ablation") as snakemake:
        until("the job", lambda: process_of(run, JOB))
        before = versions(run)
        any_cluster.end("slurmctld")
        until("a query during the outage", lambda: "does not answer" in told(run))
        snakemake.send_signal(signal.SIGINT)
        assert snakemake.wait(120) != 0
        any_cluster.start_controller()
    run.run("ablation", "--unlock")
    run.run("ablation")
    check(run, before, undisturbed)
