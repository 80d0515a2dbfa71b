"""The ready config of Qwen2.5-VL-7B from images to the final table, on a few rows of every benchmark.

Real head geometry, vocabulary, prompts and processor; one layer and random weights, so the numbers mean
nothing: what is tested is that every benchmark and metric goes all the way.
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
from hawk.rescore import score_predictions

ROOT = Path(__file__).parents[2]
KEPT = ("hawk-zero", "hawk-selection", "hawk-uniform", "blind")


def fixture_config(tmp_path: Path) -> dict:
    """The ready config; only where rows and weights lie, how many, and how large images are, differ."""
    config = yaml.safe_load((ROOT / "config" / "qwen2_5_vl_7b.yaml").read_text(encoding="utf-8"))
    config["model"] |= {
        "path": str(real_geometry.save(tmp_path / "model")),
        "layers": real_geometry.LAYERS,
        "heads": real_geometry.HEADS,
        "device": "cpu",
    }
    config["preprocessing"] = {"min_pixels": 56 * 56, "max_pixels": 112 * 112}
    config["ablation"]["heads_per_job"] = "all"
    config["calibration"]["samples"] = config["evaluation"]["samples"] = 28  # MME: a pair of each category
    variants = config["evaluation"]["variants"]
    config["evaluation"]["variants"] = [one for one in variants if one["name"] in KEPT]
    config["evaluation"]["ratios"] = [0.8]
    config["statistics"]["resamples"] = 200
    for name in config["evaluation"]["benchmarks"]:
        config["data"] = {
            **config.get("data", {}),
            name: {"path": str(hub_rows.write(name, tmp_path / name))},
        }
    return config


@pytest.mark.long
def test_ready_config_from_rows_to_table(tmp_path):
    config = fixture_config(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path), "--cores", os.environ.get("HAWK_CORES", "2")]
    command += ["tables", "--configfile", "config.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3 * 3600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    check(tmp_path, config)


def check(folder: Path, config: dict) -> None:
    run = folder / "outputs" / config["run"]
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
    # 28 heads, a weight each, from the ablation of the six calibration benchmarks.
    drops = pd.read_parquet(run / "drops.parquet")
    assert drops.groupby(["benchmark", "intervention"])["head"].nunique().eq(28).all()
    assert set(drops["benchmark"]) == set(config["calibration"]["benchmarks"])
    # The models' texts differ between images, and are scored again to the same values.
    answers = pd.read_parquet(run / "scores" / "mme" / "baseline" / "evaluation.parquet")["prediction"]
    assert answers.nunique() > 1
    for name in names:
        saved = run / "scores" / name / "baseline" / "evaluation.parquet"
        (found,) = score_predictions(name, None, saved)
        assert found["value"] == pytest.approx(rows.loc[("baseline", "0", name), "native_value"])
