"""The workflow on a real Slurm, with the profile as it ships: sbatch, a GPU per job, equal digests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, why_not
from conftest import EMBEDDED, ROOT
from faults import FEW
from running import Workflow

pytestmark = pytest.mark.slurm


class SlurmWorkflow(Workflow):
    """The same, with the literal ``--profile slurm`` and an interrupt where it hangs."""

    limit = 570

    def __init__(self, folder: Path, model: Path, config: dict) -> None:
        super().__init__(folder, model, config)
        (folder / "slurm").symlink_to(ROOT / "slurm")

    def command(self, *words: str) -> list[str]:
        limit = ["timeout", "-s", "INT", "-k", "15", str(self.limit - 30)]
        return [*limit, *super().command(*words, "--profile", "slurm")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    cluster = Cluster()
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def jobs_of(cluster: Cluster, run_id: str) -> list[dict[str, str]]:
    """What Slurm says about the jobs of a Snakemake run, ended ones included."""
    lines = cluster.call("scontrol", "--oneliner", "show", "job").splitlines()
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
    return [job for job in jobs if job.get("JobName") == run_id]


def test_ablation_runs_through_sbatch_with_a_gpu_each_and_equals_the_local_run(
    cluster: Cluster, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAWK_POLL_SECONDS", os.environ.get("HAWK_POLL_SECONDS", "6"))
    there = SlurmWorkflow(tmp_path / "slurm", small_model, FEW)
    text = there.run("ablation")
    (run_id,) = re.findall(r"SLURM run ID: (\S+)", text)
    submitted = set(re.findall(r"submitted with SLURM jobid (\d+)", text))
    jobs = jobs_of(cluster, run_id)
    assert {job["JobId"] for job in jobs} == submitted
    assert len(jobs) == 5
    for job in jobs:
        assert job["JobState"] == "COMPLETED"
        assert job["TresPerJob"] == "gres:gpu:1"
        assert int(job["MinMemoryNode"].rstrip("M")) >= 3000
    assert {job["Comment"] for job in jobs} == {
        "rule_encode_images_wildcards_calibration_digits",
        "rule_score_reference_wildcards_digits_zero",
        "rule_repeat_reference_wildcards_digits_zero_repeat1",
        "rule_ablate_head_wildcards_digits_zero_L0H0",
        "rule_ablate_head_wildcards_digits_zero_L0H1",
    }
    # Here with all heads in one process: neither the machine nor the grouping changes a value.
    together = deepcopy(FEW)
    together["ablation"]["heads_per_job"] = "all"
    here = Workflow(tmp_path / "local", small_model, together)
    here.run("ablation")
    assert there.digests() == here.digests()
    assert len(there.digests()) == 5


@pytest.mark.long
def test_the_whole_embedded_run_equals_the_local_one(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rule through sbatch, and the same tables. All heads in one job each, or it takes an hour."""
    monkeypatch.setenv("HAWK_POLL_SECONDS", "5")
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["model"]["path"] = "model"
    config["ablation"]["heads_per_job"] = "all"
    there = SlurmWorkflow(tmp_path / "slurm", EMBEDDED, config)
    there.limit = 3600
    planned = there.planned()
    text = there.run()
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", text)
    here_only = {"all", "prepare_samples"}
    assert len(submitted) == sum(count for rule, count in planned.items() if rule not in here_only)
    (run_id,) = re.findall(r"SLURM run ID: (\S+)", text)
    for job in jobs_of(cluster, run_id):  # the last five minutes of them
        assert job["JobState"] == "COMPLETED"
        on_gpu = job["Comment"].startswith(("rule_evaluate_pruned", "rule_score", "rule_ablate"))
        assert not on_gpu or job["TresPerJob"] == "gres:gpu:1", job["Comment"]
    assert (there.folder / "outputs/tiny/report.html").is_file()
    here = Workflow(tmp_path / "local", EMBEDDED, config)
    here.limit = 3600
    here.run()
    found, expected = there.digests(), here.digests()
    assert found.keys() == expected.keys()
    differ = [name for name in found if found[name] != expected[name] and "cost" not in name]
    assert not differ
