"""Heads as rows of one batch against one head at a time; memory of a sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from hawk.benchmarks.samples import read_samples
from hawk.config.load import fill
from hawk.config.recipes import ablation_named
from hawk.core.files import digest, read_table, write_table
from hawk.core.images import item_key
from hawk.core.paths import RunPaths
from hawk.core.schemas import SAMPLES, SCORES
from hawk.steps.encode_images import encode_images
from hawk.steps.head_means import head_means
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.score_samples import score_samples
from hawk.steps.session import Session

# What a batch of another shape may change in a float32 reference log-probability.
TOLERANCE = 1e-4
HEADS = ["L0H0", "L0H1", "L1H0"]


@pytest.fixture(scope="module")
def config(small_model: Path) -> dict[str, Any]:
    part = {
        "run": "rows",
        "model": {"path": str(small_model), "device": "cpu", "layers": 2, "heads": 2},
        "ablation": {
            "recipes": [{"name": one, "intervention": one, "layers": [0, 1]} for one in ("zero", "mean")]
        },
        "calibration": {"benchmarks": ["digits"], "samples": 5},
        "evaluation": {"benchmarks": ["digits"], "variants": [{"name": "blind", "method": "blind"}]},
        "generation": {"batch_size": 6},
    }
    return fill(part, "config")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> RunPaths:
    paths = RunPaths(tmp_path_factory.mktemp("rows"))
    prepare_samples(config, paths, "calibration", "digits")
    encode_images(config, paths, "calibration", "digits")
    head_means(Session.open(config, paths, "digits", "calibration"))
    return paths


def score(
    config: dict[str, Any], paths: RunPaths, names: list[str], folder: str, rows: int, intervention: str
) -> dict[str, str]:
    """Score in one process; name → file."""
    files = {name: f"{paths.root}/{folder}/{name}.parquet" for name in names}
    session = Session.open(config, paths, "digits", "calibration")
    score_samples(session, list(files.items()), ablation_named(config, intervention), rows_per_batch=rows)
    return files


@pytest.mark.parametrize("intervention", ["zero", "mean"])
def test_rows_of_one_batch_equal_one_head_at_a_time(
    config: dict[str, Any], inputs: RunPaths, intervention: str
) -> None:
    names = ["reference", "repeat1", *HEADS]
    single = score(config, inputs, names, f"{intervention}-single", 1, intervention)
    rows = score(config, inputs, names, f"{intervention}-rows", 3, intervention)
    logprobs = {}
    for name in names:
        one, many = read_table(single[name], SCORES), read_table(rows[name], SCORES)
        for column in ("sample_id", "prediction", "score", "prompt_tokens", "kept_tokens"):
            assert one[column].to_pylist() == many[column].to_pylist(), (name, column)
        logprobs[name] = many["reference_logprob"].to_pylist()
        assert logprobs[name] == pytest.approx(one["reference_logprob"].to_pylist(), abs=TOLERANCE)
    # The tolerance tells heads apart.
    for name in HEADS:
        others = [other for other in names if other not in (name, "repeat1")]
        for other in others:
            assert logprobs[name] != pytest.approx(logprobs[other], abs=10 * TOLERANCE), (name, other)


def test_grouping_of_rows_changes_nothing(config: dict[str, Any], inputs: RunPaths) -> None:
    together = score(config, inputs, HEADS, "together", 3, "zero")
    alone = {name: score(config, inputs, [name], "alone", 3, "zero")[name] for name in HEADS}
    assert {name: digest(path) for name, path in together.items()} == {
        name: digest(path) for name, path in alone.items()
    }


READ = r"""
import re, sys
from hawk.benchmarks.samples import read_samples
import hawk.inference.feature_store
def peak():  # of this program; ru_maxrss would count its parent's
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024
before = peak()
samples = read_samples(sys.argv[1], "calibration", "toy", images=sys.argv[2] == "True")
print(len(samples), peak() - before)
"""


SCORE = r"""
import json, re, sys
from hawk.core.paths import RunPaths
from hawk.steps.score_samples import score_samples
from hawk.steps.session import Session
config, root, jobs = json.loads(sys.argv[1])
score_samples(Session.open(config, RunPaths(root), "digits", "calibration"), jobs,
              {"name": "zero", "intervention": "zero"})
print(int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.long
def test_memory_of_a_sweep_does_not_grow_with_the_samples(tmp_path: Path, config: dict[str, Any]) -> None:
    peaks = {}
    for count in (12, 240):
        more = {**config, "calibration": {**config["calibration"], "samples": count}}
        paths = RunPaths(tmp_path / str(count))
        prepare_samples(more, paths, "calibration", "digits")
        encode_images(more, paths, "calibration", "digits")
        jobs = [(head, f"{paths.root}/{head}.parquet") for head in ("L1H0", "L1H1")]
        words = [sys.executable, "-c", SCORE, json.dumps([more, paths.root, jobs])]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
        peaks[count] = int(done.stdout.split()[-1])
    # A batch of 6 holds megabytes of hidden states and cache; 228 samples more may add their ids and rows.
    assert peaks[240] - peaks[12] < 30, peaks


def test_images_are_not_held_in_memory_where_features_are_stored(tmp_path: Path) -> None:
    rows = [
        {
            "sample_id": str(i), "group_id": str(i), "metric_group": None, "split": "", "question": "?",
            "images": [{"bytes": os.urandom(250_000), "path": None}], "video": None, "options": [],
            "references": ["a"], "category": None,
        }
        for i in range(400)
    ]  # fmt: skip
    path = tmp_path / "samples.parquet"
    write_table(path, rows, SAMPLES, {"identity": {"role": "calibration", "benchmark": "toy"}})
    grown = {}
    for images in (True, False):
        words = [sys.executable, "-c", READ, str(path), str(images)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
        grown[images] = int(done.stdout.split()[1])
    # 100 MB of images; what is left without them is libraries.
    assert grown[True] - grown[False] > 200, grown
    assert grown[False] < 200, grown
    found = read_samples(str(path), "calibration", "toy", images=False)
    assert [sample.images[0]["key"] for sample in found] == [
        item_key(row["images"][0]["bytes"]) for row in rows
    ]
