"""On a second, simulated device (tests/simulated_gpu.py): nothing mixes, and results are the CPU's."""

from __future__ import annotations

import copy
import json

import pyarrow.parquet as pq
import pytest
import tiny_prompts
import torch
from matrix import PRUNERS
from oracles import CASES, FAMILIES
from simulated_gpu import simulated
from tiny_prompts import build
from tiny_random import MODELS

from hawk.cli.main import cli
from hawk.config.load import fill
from hawk.models import family_of
from hawk.models.base import by_modality, markers_of
from hawk.models.turns import remember_markers
from hawk.pruning import pruner

NAMES = ("hawk", "visionzip", "fastv", "grid", "downscale")


@pytest.fixture(autouse=True)
def second_device():
    with simulated():
        yield


def on(device, family):
    model = copy.deepcopy(MODELS[family]()).to(device)
    remember_markers(model, markers_of(MODELS[family](), family_of(model)))
    return model


OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in FAMILIES if name != "qwen2_5_vl"]


@pytest.mark.parametrize("family", ["qwen2_5_vl", *OTHERS])
def test_every_pruner(family):
    inputs, found = build(family, CASES["mixed"]), {"cpu": [], "cuda:0": []}
    for device, rows in found.items():
        model = on(device, family)
        for method, options in PRUNERS.values():
            with (given := pruner(method, **options, pruning_ratio=0.6)).attach(model):
                said = model.generate(**inputs, max_new_tokens=2, do_sample=False).tolist()
            rows.append((method, said, [index.tolist() for index in given.last.kept_index]))
    assert found["cpu"] == found["cuda:0"]


@pytest.mark.parametrize("family", FAMILIES)
def test_features_from_the_cpu(family):
    """``generate`` takes them as they are, and so does a pruned one."""
    inputs, model = build(family, CASES["one"]), on("cuda:0", family)
    handle = family_of(model)
    items = [item for found in handle.encode(MODELS[family](), inputs).values() for item in found]
    for method in ("random", "hawk"):
        stored = {
            "mm_encoder_outputs": handle.encoder_outputs(*by_modality(items)),
            **handle.stored_inputs(items),
        }
        with pruner(method, pruning_ratio=0.5).attach(model):
            out = model.generate(inputs["input_ids"], **stored, max_new_tokens=1)
        assert out.device == torch.device("cuda", 0)


STEPS = [
    "prepare-samples samples/calibration/digits.parquet", "prepare-samples samples/evaluation/digits.parquet",
    *(f"encode-images features/{role}/digits.safetensors" for role in ("calibration", "evaluation")),
    "head-means scores/digits/head_means.safetensors",
    *(f"score-samples scores/digits/{mode}/L0H1.parquet" for mode in ("mean", "selection")),
    *(f"evaluate-pruned evaluation/digits/{name}.parquet" for name in NAMES),
    "measure-cost", "kept-tokens",
]  # fmt: skip


def test_every_step(tmp_path):
    tiny, found = tiny_prompts.vlm("qwen2_5_vl"), {"cpu": [], "cuda:0": []}
    tiny.model.save_pretrained(tmp_path)
    tiny.processor.save_pretrained(tmp_path)
    few = {"benchmarks": ["digits"], "samples": 2}
    evaluated = {"ratios": [0.5], "variants": [{"name": name, "method": name} for name in NAMES]}
    for device, rows in found.items():
        raw = {
            "run": "r",
            "model": {"path": str(tmp_path), "device": device, "layers": 3, "heads": 4},
            "calibration": {**few, "holdout": "none"},
            "ablation": {"recipes": [{"name": one, "intervention": one} for one in ("mean", "selection")]},
            "weights": {"recipes": [{"name": "selection", "ablation": "selection"}]},
            "evaluation": {**few, **evaluated},
            "generation": {"protocol": "lmms-eval"},
            "cost": {"samples": 1, "repeats": 1, "warmup": 0, "max_new_tokens": 2},
        }
        for command, *output in map(str.split, STEPS):
            path = str(tmp_path / device / (output or [""])[0])
            where = [path] if output else ["--run-dir", path]
            cli.main([command, "--config", json.dumps(fill(raw, "test")), *where], standalone_mode=False)
            if "/digits/" in path and path.endswith(".parquet"):
                rows.append(pq.read_table(path, partitioning=None).to_pylist())
    assert found["cpu"] == found["cuda:0"]
