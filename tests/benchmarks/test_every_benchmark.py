"""Every image benchmark of the paper from rows to the final table, in one process, on the embedded model.

The steps are those of the workflow. The model knows none of these tasks, so the numbers mean nothing:
what is tested is that samples, pairs, categories and metrics of all benchmarks go all the way.
"""

from __future__ import annotations

import functools

import hub_rows
import pandas as pd
import pytest
from conftest import EMBEDDED, ROOT

import hawk.steps.session
from hawk.analysis.comparison import RETENTION
from hawk.benchmarks import benchmark
from hawk.benchmarks.rules import protocols
from hawk.config.load import load_config
from hawk.core.files import provenance_of, read_table
from hawk.core.paths import RunPaths
from hawk.steps.encode_images import encode_images
from hawk.steps.evaluate_pruned import evaluate_pruned, open_session
from hawk.steps.head_drops import head_drops
from hawk.steps.head_weights import head_weights
from hawk.steps.make_tables import make_tables
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.score_samples import score_samples
from hawk.steps.session import Session
from hawk.tools.rescore import score_predictions

ZERO = {"name": "zero", "intervention": "zero", "layer": 0, "layers": [0]}
VARIANTS = ("hawk-zero", "hawk-uniform", "blind")
HEADS = 8


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(protocols, "VLMEVALKIT_TOKENS", dict.fromkeys(protocols.STYLES, 4))
    monkeypatch.setattr(hawk.steps.session, "load", functools.cache(hawk.steps.session.load))
    config = load_config(ROOT / "config" / "qwen2_5_vl_7b.yaml")
    config["model"] |= {
        "path": str(EMBEDDED),
        "dtype": "float32",
        "device": "cpu",
        "layers": 4,
        "heads": HEADS,
    }
    config["preprocessing"] |= {"min_pixels": None, "max_pixels": None}
    config["ablation"]["recipes"] = [ZERO]
    config["weights"]["recipes"] = config["weights"]["recipes"][:1]
    config["calibration"]["samples"] = config["evaluation"]["samples"] = 28  # MME: a pair of each category
    variants = [one for one in config["evaluation"]["variants"] if one["name"] in VARIANTS]
    config["evaluation"] |= {"variants": variants, "ratios": [0.8]}
    config["statistics"]["resamples"] = 50
    config["data"] = {
        name: {"path": str(hub_rows.write(name, tmp_path / name))}
        for name in config["evaluation"]["benchmarks"]
    }
    return config


def test_from_rows_to_the_table(config, tmp_path):
    paths = RunPaths(tmp_path / "run")
    calibrated, evaluated = config["calibration"]["benchmarks"], config["evaluation"]["benchmarks"]
    for role, names in (("calibration", calibrated), ("evaluation", evaluated)):
        for name in names:
            prepare_samples(config, paths, role, name)
            encode_images(config, paths, role, name)
    heads = [f"L0H{number}" for number in range(HEADS)]
    for name in calibrated:
        jobs = [(what, paths.scores(name, "zero", what)) for what in ("reference", "repeat1", *heads)]
        score_samples(Session.open(config, paths, name, "calibration"), jobs, ZERO)
    head_drops(config, paths, "zero")
    head_weights(config, paths, "zero")
    for name in evaluated:
        baseline = paths.baseline(name, "evaluation")
        score_samples(Session.open(config, paths, name, "evaluation"), [("evaluation", baseline)])
        for variant in VARIANTS:
            evaluate_pruned(open_session(config, paths, name, variant), variant)
    make_tables(config, paths.root)

    path = paths.table("retention", "parquet")
    table = read_table(path, RETENTION)
    rows = table.to_pandas().set_index(["variant", "pruning_ratio", "benchmark"])
    for name in evaluated:
        expected = len(hub_rows.TABLES[name][0][1]())
        for variant in ("baseline", *VARIANTS):
            ratio = {"baseline": "0", "blind": None}.get(variant, "0.8")
            found = rows.xs(variant, level="variant").xs(name, level="benchmark")
            row = found.iloc[0] if ratio is None else found.loc[ratio]
            assert 0.0 <= row["native_value"] <= benchmark(name).native_max
            assert row["samples"] == expected
        (again,) = score_predictions(name, None, paths.baseline(name, "evaluation"))
        assert again["value"] == pytest.approx(rows.loc[("baseline", "0", name), "native_value"])
    assert rows.loc[("baseline", "0", "mme"), "published"] == 2315
    drops = pd.read_parquet(paths.drops("zero"))
    assert drops.groupby("benchmark")["head"].nunique().to_dict() == dict.fromkeys(calibrated, HEADS)
    data = provenance_of(table, path)["settings"]["data"]
    assert {name: one["origin"]["id"] for name, one in data.items()} == {
        name: str(tmp_path / name) for name in evaluated
    }
