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
from hawk.core.errors import InputError
from hawk.tools.cards import CARDS, Timing, assumptions, estimated, parameters_of
from hawk.tools.grouping import groupings, recommended
from hawk.tools.plan import counted, disk, hours, plan, stages, table

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
            {"name": "screen", "intervention": "gradient"},
        ],
    }
    config["weights"] = {
        "recipes": [{"name": name, "ablation": "alone", "query": "calibrated"} for name in ("free", "alone")]
    }
    config["evaluation"]["variants"] = [
        config["evaluation"]["variants"][1],
        {"name": "v", "method": "hawk", "weights": "free", "query": "calibrated"},
    ]
    planned = {stage.name: stage.jobs for stage in stages(fill(config, "config"), lambda role, name: 12)}
    jobs = Workflow(tmp_path, small_model, config).planned()
    for name, rules in RULES.items():
        assert planned[name] == sum(jobs[rule] for rule in rules), name
    assert planned["screening"] == jobs["screen_heads"] == len(config["calibration"]["benchmarks"])
    assert planned["head means"] == jobs["head_means"]
    assert planned["mean queries"] == jobs["mean_queries"] == 2 * len(config["calibration"]["benchmarks"])
    assert sum(planned.values()) == sum(jobs.values()) - 1, "all but the rule all"
    assert planned["ablation"] == sum(n for rule, n in jobs.items() if rule.startswith("ablate_head"))


def test_hours_and_bytes_by_hand() -> None:
    config = fill(SMALL, "config")
    config["ablation"]["heads_per_job"] = 2
    found = {stage.name: stage for stage in stages(config, lambda role, name: 10)}
    timing = Timing("cpu", 2.0, 0.5, 0.1, feature_bytes=1e6, sample_bytes=1e4, row_bytes=100)
    # 2 benchmarks × 2 ablations × 2 heads × 10 samples, in 4 jobs of 2 heads
    ablation = found["ablation"]
    assert (ablation.jobs, ablation.scorings, ablation.files) == (4, 80, 8)
    assert hours(ablation, timing) == pytest.approx((4 * 2.0 + 80 * 0.1) / 3600)
    assert disk(ablation, timing, stored=True) == 80 * 100 + 8 * 6000
    assert disk(found["features"], timing, stored=True) == 40 * 1e6
    assert hours(found["samples"], timing) == 0
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
    assert rows["ablation"][1:3] == ["8", "96"]  # 2 benchmarks × 2 ablations × 2 heads × 12 samples
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
    assert int(rows["ablation"][1]) == 28 // 7 * 6 * 2  # groups of heads × benchmarks × interventions
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


READY = sorted(path for path in (ROOT / "config").glob("*7b*.yaml")) + sorted(
    path for path in (ROOT / "config").glob("*8b*.yaml")
)


def test_an_estimate_by_hand() -> None:
    config = fill(SMALL, "config")
    config["generation"]["batch_size"] = 16
    timing = estimated(config, "h100", 7e9)
    prefill = 2 * 7e9 * (1296 + 64) / (0.4 * 989e12)  # seconds of a sample
    decode = 8 * 0.020 / 16  # 8 steps that a batch shares; the weights alone take 8.4 ms
    assert timing.score == pytest.approx(prefill + decode)
    assert timing.start == pytest.approx(10 + 14)
    slow = estimated(config, "l40s", 7e9)
    assert slow.score - 2 * 7e9 * 1360 / (0.4 * 362e12) == pytest.approx(8 * (14e9 / (0.5 * 0.864e12)) / 16)
    config["preprocessing"]["min_pixels"] = 4096 * 28**2
    assert estimated(config, "h100", 7e9).score - decode == pytest.approx(prefill * (4096 + 64) / (1296 + 64))
    assert "4096 visual" in assumptions(config, "h100", 7e9)
    with pytest.raises(InputError, match="--card 'tpu' is not known; allowed: a100, h100"):
        estimated(config, "tpu", 7e9)


@pytest.mark.parametrize(
    ("path", "billions"),
    [("Qwen/Qwen2.5-VL-7B-Instruct", 7), ("OpenGVLab/InternVL3-8B-hf", 8), ("llava-onevision-0.5b", 0.5)],
)
def test_a_name_says_the_size(path: str, billions: float) -> None:
    assert parameters_of({"model": {"path": path}}) == billions * 1e9


def test_a_name_without_a_size_is_said() -> None:
    with pytest.raises(InputError, match="give --parameters"):
        parameters_of({"model": {"path": "data/models/tiny-qwen2.5-vl"}})


def test_the_jobs_of_a_grouping_by_hand() -> None:
    config = fill(SMALL, "config")  # 2 benchmarks
    layers = list(range(14))  # of 2 heads: 28, for each of 2 ablations
    recipes = [{"name": one, "intervention": one, "layer": 0, "layers": layers} for one in ("zero", "mean")]
    config["ablation"] |= {"recipes": recipes, "heads_per_job": 4}
    count = {"easy_vqa": 10, "digits": 30}
    timing = Timing("card", start=100.0, encode=9.0, score=0.5, feature_bytes=0, sample_bytes=0, row_bytes=0)
    found = groupings(config, lambda role, name: count[name], timing)
    assert [one.per_job for one in found] == [1, 4, 7, "all"]
    assert [one.jobs for one in found] == [4 * 28, 4 * 7, 4 * 4, 4]
    four = found[1]
    assert four.hours == pytest.approx((28 * 100 + 2 * 28 * 40 * 0.5) / 3600)
    assert four.longest == pytest.approx((100 + 4 * 30 * 0.5) / 3600)
    assert four.starts == pytest.approx(2800 / (2800 + 1120))
    config["features"] = "recomputed"
    again = groupings(config, lambda role, name: count[name], timing)[1]
    assert again.longest == pytest.approx((100 + 4 * 30 * 9.5) / 3600)
    # Starts of 100 s want a job as large as there is; long work wants few heads a job.
    assert recommended(found).per_job == "all"
    slow = Timing("card", start=100.0, encode=0, score=100.0, feature_bytes=0, sample_bytes=0, row_bytes=0)
    config["features"] = "stored"
    assert recommended(groupings(config, lambda role, name: count[name], slow)).per_job == 1


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_ready_configs_have_what_the_plan_recommends(path: Path) -> None:
    """On an A100 and on an H100; the comment beside it says how to have one job per head."""
    config = load_config(str(path))
    for card in ("a100", "h100"):
        timing = estimated(config, card, parameters_of(config))
        choices = groupings(config, counted({**config, "run": "not-there"}), timing)
        assert config["ablation"]["heads_per_job"] == recommended(choices).per_job, (card, choices)
    assert "1 is one job per head" in path.read_text()


def test_the_demo_has_one_job_per_head() -> None:
    assert load_config(str(ROOT / "config" / "config.yaml"))["ablation"]["heads_per_job"] == 1


def test_a_named_card_gives_hours_and_says_what_it_takes_for_granted() -> None:
    config = load_config(str(ROOT / "config" / "qwen2_5_vl_7b.yaml"))
    text = plan(config, card="h100")
    lines = text.splitlines()
    assert lines[0].split() == ["stage", "jobs", "images", "scored", "GPU", "hours", "disk"]
    assert "Estimated, not measured, for h100" in text
    assert sum("  recommended" in line for line in lines) == 1
    assert next(line for line in lines if line.split()[:2] == ["1", "336"])
    assert set(CARDS) == {"a100", "h100", "h200", "l40s", "rtx4090", "v100"}
    words = ["plan", "--config", str(ROOT / "config" / "config.yaml"), "--card", "h100", "--measure", "1"]
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, InputError)
