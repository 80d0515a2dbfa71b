"""The ready configs: valid, as the paper has it, with a leak-free twin, and of the size they claim."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hawk.benchmarks import benchmark
from hawk.config.load import load_config
from hawk.config.queries import subset_benchmarks
from hawk.core.errors import InputError
from hawk.pruning.budget import kept_count

ROOT = Path(__file__).parents[2]
# Config → jobs of a run from nothing, by rule.
JOBS = {
    "qwen2_5_vl_7b": {
        "prepare_samples": 19,  # 6 calibration and 13 evaluation tables
        "encode_images": 19,
        "score_reference": 12,  # 6 benchmarks x 2 ablations
        "repeat_reference": 12,
        "ablate_heads": 48,  # x 4 groups of 7 heads
        "score_baseline": 13,
        "evaluate_pruned": 169,  # 13 benchmarks x 13 variants
    },
    "qwen2_5_vl_7b_fixed": {"prepare_samples": 19, "ablate_heads": 48, "evaluate_pruned": 169},
    "internvl3_8b": {"prepare_samples": 19, "ablate_heads": 48, "evaluate_pruned": 143},
    "qwen2_5_vl_7b_video": {
        "prepare_samples": 4,
        "encode_images": 4,
        "ablate_heads": 16,  # 2 benchmarks x 2 ablations x 4 groups of 7 heads
        "score_baseline": 2,
        "evaluate_pruned": 24,
    },
}
TWINS = [f"{name}_leak_free" for name in JOBS]


def raw(name):
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [*JOBS, *TWINS])
def test_config_is_valid_and_its_benchmarks_follow_its_protocol(name):
    config = load_config(ROOT / "config" / f"{name}.yaml")
    for one in {*config["calibration"]["benchmarks"], *config["evaluation"]["benchmarks"]}:
        bench = benchmark(one, config["data"].get(one))
        bench.check_protocol(config["generation"]["protocol"])
    known = {*config["evaluation"]["benchmarks"], "overall"}
    for row, ratios in config["evaluation"]["published"].items():
        for ratio, values in ratios.items():
            assert float(ratio) in ([0.0] if row == "baseline" else config["evaluation"]["ratios"])
            assert set(values) <= known
    assert config["calibration"]["holdout"] == ("disjoint" if name in TWINS else "none")


@pytest.mark.parametrize("name", JOBS)
def test_the_leak_free_twin_differs_in_nothing_else(name):
    paper, twin = raw(name), raw(f"{name}_leak_free")
    assert twin["run"] == f"{paper['run']}-leak-free"
    twin["run"] = paper["run"]
    twin["calibration"]["holdout"] = paper["calibration"]["holdout"]
    assert twin == paper


def test_the_fixed_ratios_keep_the_paper_s_counts():
    ratios = load_config(ROOT / "config" / "qwen2_5_vl_7b_fixed.yaml")["evaluation"]["ratios"]
    assert [kept_count(1296, ratio) for ratio in ratios] == [512, 256, 128]


def test_internvl_gets_its_own_prompts():
    config = load_config(ROOT / "config" / "internvl3_8b.yaml")
    for one in config["evaluation"]["benchmarks"]:
        assert benchmark(one, config["data"].get(one)).style == "internvl"


@pytest.mark.parametrize("name", JOBS)
def test_dry_run_plans_the_jobs(name, tmp_path):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    command += ["--configfile", str(ROOT / "config" / f"{name}.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    # The table is printed twice.
    counts = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)}
    found: dict[str, int] = {}
    for rule, count in counts.items():
        rule = re.sub(r"_\d+$", "", rule)  # ablate_heads_0, ablate_heads_1 ... are one
        found[rule] = found.get(rule, 0) + count
    assert {rule: found.get(rule) for rule in JOBS[name]} == JOBS[name]


@pytest.mark.parametrize("name", JOBS)
def test_every_weight_file_of_a_run_can_be_made(name):
    """One without each family, those included that are only evaluated; a job sees no evaluation section."""
    config = load_config(ROOT / "config" / f"{name}.yaml")
    names = config["calibration"]["benchmarks"]
    family = {one: benchmark(one).family for one in {*names, *config.pop("evaluation")["benchmarks"]}}
    for left_out in set(family.values()):
        found = subset_benchmarks(config, f"without-{left_out}")
        assert found == [one for one in names if family[one] != left_out]
    with pytest.raises(InputError, match="unknown subset"):
        subset_benchmarks(config, "without-nothing")
