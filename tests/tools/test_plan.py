"""hawk plan against the jobs that a dry run counts, and against hand-made numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from running import SMALL, Workflow

from hawk.benchmarks import benchmark
from hawk.cli.main import cli
from hawk.config.load import fill, load_config
from hawk.tools.plan import Timing, counted, stages, table

RULES = {
    "samples": ["prepare_samples"],
    "features": ["encode_images"],
    "reference": ["score_reference"],
    "repeats": ["repeat_reference"],
    "baseline": ["score_baseline"],
    "evaluation": ["evaluate_pruned"],
}


@pytest.mark.parametrize("heads_per_job", [1, 3, "all"])
def test_jobs_are_those_of_a_dry_run(tmp_path: Path, small_model: Path, heads_per_job: int | str) -> None:
    config = deepcopy(SMALL)
    config["ablation"] = {
        "heads_per_job": heads_per_job,
        "recipes": [
            {"name": "zero", "intervention": "zero", "layers": [0, 1]},
            {"name": "mean", "intervention": "mean"},
            {"name": "alone", "intervention": "keep_only", "ratio": 0.5},
        ],
    }
    config["evaluation"]["variants"] = config["evaluation"]["variants"][:2]
    planned = {stage.name: stage.jobs for stage in stages(fill(config, "config"), lambda role, name: 12)}
    jobs = Workflow(tmp_path, small_model, config).planned()
    for name, rules in RULES.items():
        assert planned[name] == sum(jobs[rule] for rule in rules), name
    assert planned["head means"] == jobs["head_means"]
    assert sum(planned.values()) == sum(jobs.values()) - 1, "all but the rule all"
    assert planned["ablation"] == sum(n for rule, n in jobs.items() if rule.startswith("ablate_head"))


def test_hours_and_bytes_by_hand() -> None:
    config = fill(SMALL, "config")
    config["ablation"]["heads_per_job"] = 2
    found = {stage.name: stage for stage in stages(config, lambda role, name: 10)}
    timing = Timing("cpu", 2.0, 0.5, 0.1, feature_bytes=1e6, sample_bytes=1e4, row_bytes=100)
    # 2 benchmarks × 2 interventions × 2 heads × 10 samples, in 4 jobs of 2 heads
    ablation = found["ablation"]
    assert (ablation.jobs, ablation.scorings, ablation.files) == (4, 80, 8)
    assert timing.hours(ablation) == pytest.approx((4 * 2.0 + 80 * 0.1) / 3600)
    assert timing.disk(ablation, stored=True) == 80 * 100 + 8 * 6000
    assert timing.disk(found["features"], stored=True) == 40 * 1e6
    assert timing.hours(found["samples"]) == 0
    # 4 variants, one with 2 seeds; 2 ratios; 20 samples
    assert found["evaluation"].scorings == 20 * 2 * 5
    assert "total" in table(list(found.values()), timing, stored=True)
    # Cost: unpruned, and one variant at 2 ratios; 1 sample, 2 repeats and a warm-up
    assert "measured cost" not in found
    config["cost"]["measure"] = True
    (cost,) = [stage for stage in stages(config, lambda role, name: 10) if stage.name == "measured cost"]
    assert (cost.jobs, cost.scorings) == (1, 3 * 3)
    config["features"] = "recomputed"
    found = {stage.name: stage for stage in stages(config, lambda role, name: 10)}
    assert "features" not in found
    assert found["ablation"].images == 80


def test_the_command_times_a_few_samples_if_asked(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = Workflow(tmp_path, small_model)
    monkeypatch.chdir(workflow.folder)
    done = CliRunner().invoke(cli, ["plan", "--config", "config.yaml", "--measure", "2"])
    assert done.exit_code == 0, done.output
    assert "Timed on cpu" in done.output
    rows = {line.split("  ")[0]: line.split() for line in done.output.splitlines()}
    assert rows["ablation"][1:3] == ["8", "96"]  # 2 benchmarks × 2 interventions × 2 heads × 12 samples
    assert float(rows["total"][4]) > 0
    assert max(map(len, done.output.splitlines())) < 80


def test_by_default_it_is_arithmetic_without_model_hub_or_torch(tmp_path: Path) -> None:
    """In a process without sockets and torch; the control asks there for a timing, and fails."""
    config = str(ROOT / "config" / "qwen2_5_vl_7b.yaml")
    code = (
        "import socket, sys; from without import forbid\n"
        "forbid('torch', 'transformers', 'datasets', 'huggingface_hub')\n"
        "socket.socket.connect = socket.getaddrinfo = None\n"
        "from hawk.cli.main import cli\n"
        "cli(sys.argv[1:])"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])

    def hawk(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "plan", "--config", config, *words],
            capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip

    done = hawk()
    assert done.returncode == 0, done.stderr
    rows = {line.split("  ")[0]: line.split() for line in done.stdout.splitlines()}
    assert rows["stage"] == ["stage", "jobs", "images", "scored"]
    assert int(rows["ablation"][1]) == 28 * 6 * 2  # heads × benchmarks × interventions
    assert hawk("--measure", "1").returncode != 0


def test_counts_need_no_download() -> None:
    config = load_config(str(ROOT / "config" / "qwen2_5_vl_7b_leak_free.yaml"))
    config["run"] = "not-there"
    count = counted(config)
    # RealWorldQA has 765 questions; its calibration share is 0.3 of the images.
    assert count("calibration", "realworldqa") == min(config["calibration"]["samples"], round(0.3 * 765))
    config["calibration"]["samples"] = 20
    assert counted(config)("calibration", "realworldqa") == 20
    # Local ones are counted, as they are: no published size stands for them.
    config["evaluation"]["samples"] = None
    config["calibration"]["holdout"] = "none"
    assert counted(config)("evaluation", "digits") == sum(1 for _ in benchmark("digits").load())
