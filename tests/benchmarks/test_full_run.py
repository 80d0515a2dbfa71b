"""The ready config of Qwen2.5-VL-7B from images to the final table, on a few rows of every benchmark.

Real head geometry, vocabulary, prompts and processor; one layer and random weights, so the numbers mean
nothing: what is tested is that every benchmark and metric goes all the way. test_every_benchmark.py does
the same in seconds on the embedded model.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hub_rows
import pandas as pd
import pytest
import real_geometry
import yaml

from hawk.benchmarks import benchmark
from hawk.tools.rescore import score_predictions

ROOT = Path(__file__).parents[2]
KEPT = ("hawk-zero", "hawk-uniform")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return real_geometry.save(tmp_path_factory.mktemp("model"))


def fixture_config(tmp_path: Path, model: Path) -> dict:
    """The ready config; only where rows and weights lie, how many, and how large images are, differ.

    One question takes about half a second on a CPU without bfloat16 arithmetic, and a calibration
    asks each 28 times. So here few questions calibrate by one intervention; the other one, and MME,
    whose pairs of all categories are 28 questions, have tests of their own.
    """
    config = small(ready(), model)
    config["preprocessing"] = {"min_pixels": 56 * 56, "max_pixels": 84 * 84}
    config["calibration"]["benchmarks"].remove("mme")
    config["evaluation"]["samples"] = 28  # MME: a pair of each category
    config["data"] = {
        name: {"path": str(hub_rows.write(name, tmp_path / name))}
        for name in config["evaluation"]["benchmarks"]
    }
    return config


def small(config: dict, model: Path) -> dict:
    """A ready config with the small model and little to do."""
    config["model"] |= {
        "path": str(model),
        "layers": real_geometry.LAYERS,
        "heads": real_geometry.HEADS,
        "device": "cpu",
    }
    config["ablation"] |= {"heads_per_job": "all", "recipes": [{"name": "zero", "intervention": "zero"}]}
    config["calibration"]["samples"] = 2
    config["evaluation"] |= {"ratios": [0.8], "variants": variants(*KEPT)}
    config["statistics"]["resamples"] = 200
    return config


def ready(name: str = "qwen2_5_vl_7b") -> dict:
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))


def variants(*names: str) -> list[dict]:
    return [one for one in ready()["evaluation"]["variants"] if one["name"] in names]


def run_to(target: str, tmp_path: Path, config: dict) -> Path:
    """Run the workflow to a target; the folder of the run."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "hawk", "warm"]
    command += [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path), "--cores", os.environ.get("HAWK_CORES", "2")]
    command += [target, "--configfile", "config.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=5400
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return tmp_path / "outputs" / config["run"]


@pytest.mark.long
def test_ready_config_from_rows_to_table(tmp_path, model):
    config = fixture_config(tmp_path, model)
    check(run_to("tables", tmp_path, config), config)


@pytest.mark.long
def test_selection_gives_drops(tmp_path, model):
    config = fixture_config(tmp_path, model)
    config["ablation"]["recipes"] = [{"name": "selection", "intervention": "selection"}]
    config["calibration"]["benchmarks"] = config["evaluation"]["benchmarks"] = ["chartqa"]
    config["evaluation"]["variants"] = variants("hawk-uniform")
    run = run_to("outputs/qwen2-5-vl-7b/drops/selection.parquet", tmp_path, config)
    drops = pd.read_parquet(run / "drops")
    assert sorted(drops["head"]) == list(range(28))
    assert drops["logprob_drop"].abs().gt(0).any()  # other tokens are chosen, other probabilities come out


@pytest.mark.long
def test_video_config_from_rows_to_table(tmp_path, model):
    """Four frames a clip; Video-MME and WorldSense to the table with the paper's numbers."""
    config = small(ready("qwen2_5_vl_7b_video"), model)
    config["preprocessing"] = {"frames": 4, "min_pixels": 56 * 56, "max_pixels": 56 * 56}
    # Two questions tell no heads apart, so no weights.
    config["evaluation"] |= {"samples": 4, "variants": variants("hawk-uniform", "blind")}
    for number in range(2):
        hub_rows.clip(tmp_path / "videos" / f"clip{number}.mp4", number)
    config["data"] = {
        name: {"path": str(hub_rows.write(name, tmp_path / name)), "videos": str(tmp_path / "videos")}
        for name in ("videomme", "worldsense")
    }
    run = run_to("tables", tmp_path, config)
    table = pd.read_parquet(run / "tables" / "retention.parquet")
    rows = table.set_index(["variant", "pruning_ratio", "benchmark"])
    for name in ("videomme", "worldsense"):
        row = rows.loc[("hawk-uniform", "0.8", name)]
        assert row["samples"] == 4
        assert row["groups"] == 2
        assert 0 < row["kept_tokens"] < row["visual_tokens"] == 8  # two steps of two frames, 4 tokens each
    assert rows.loc[("baseline", "0", "overall"), "published"] == 100


@pytest.mark.long
def test_mme_gives_drops(tmp_path, model):
    """Two of the 28 heads; a category's pairs are complete in every role."""
    config = fixture_config(tmp_path, model)
    config["ablation"]["heads"] = [0, 27]
    config["calibration"] |= {"benchmarks": ["mme"], "samples": 28}
    config["evaluation"] |= {"benchmarks": ["mme"], "variants": variants("hawk-uniform")}
    run = run_to("outputs/qwen2-5-vl-7b/drops/zero.parquet", tmp_path, config)
    drops = pd.read_parquet(run / "drops").set_index("head")
    assert list(drops.index) == [0, 27]
    assert drops["samples"].eq(28).all()
    assert drops["logprob_drop"].abs().gt(0).all()
    assert drops["reference_value"].between(0, 2800).all()


def check(run: Path, config: dict) -> None:
    names = config["evaluation"]["benchmarks"]
    table = pd.read_parquet(run / "tables" / "retention.parquet")
    rows = table.set_index(["variant", "pruning_ratio", "benchmark"])
    for name in names:
        bench = benchmark(name)
        for variant in (*KEPT, "baseline"):
            row = rows.loc[(variant, "0" if variant == "baseline" else "0.8", name)]
            assert 0.0 <= row["native_value"] <= bench.native_max
            assert row["samples"] == len(hub_rows.TABLES[name][0][1]())
        kept = rows.loc[("hawk-zero", "0.8", name), ["kept_tokens", "visual_tokens"]]
        assert 0 < kept["kept_tokens"] < kept["visual_tokens"]
    assert rows.loc[("baseline", "0", "mme"), "published"] == 2315
    assert rows.loc[("hawk-zero", "0.8", "textvqa"), "published"] == 83.0
    assert rows.loc[("hawk-zero", "0.8", "overall"), "published"] == 96.2
    markdown = (run / "tables" / "retention.md").read_text(encoding="utf-8")
    assert "published" in markdown
    # 28 heads, a weight each, from the ablation of the calibration benchmarks.
    drops = pd.read_parquet(run / "drops")
    assert drops.groupby(["benchmark", "intervention"])["head"].nunique().eq(28).all()
    assert set(drops["benchmark"]) == set(config["calibration"]["benchmarks"])
    # The models' texts differ between images, and are scored again to the same values.
    answers = pd.read_parquet(run / "scores" / "mme" / "baseline" / "evaluation.parquet")["prediction"]
    assert answers.nunique() > 1
    for name in names:
        saved = run / "scores" / name / "baseline" / "evaluation.parquet"
        (found,) = score_predictions(name, None, saved)
        assert found["value"] == pytest.approx(rows.loc[("baseline", "0", name), "native_value"])
