"""Measured cost on an untrained tiny model: what is exact (tokens, bytes), and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from tiny_prompts import Image, build
from tiny_random import HEADS, KV_HEADS, LAYERS, MODELS

from hawk.analysis.cost import cost_table
from hawk.config.declared import declared
from hawk.config.load import load_config
from hawk.core.errors import InputError
from hawk.core.files import provenance_of, read_table, write_table
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.core.schemas import COST, SAMPLES
from hawk.inference.phases import generate_by_phase
from hawk.models import family_of
from hawk.models.base import VisionLanguageModel
from hawk.pruning.methods.random import Random
from hawk.report.figures.speedup import speedup_figure
from hawk.report.tables import cost_markdown
from hawk.steps.kept_tokens import kept_tokens
from hawk.steps.make_cost_table import make_cost_table
from hawk.steps.measure_cost import cost_pruners, measure_cost
from hawk.steps.session import load_for

DEFAULT = Path(__file__).parents[2] / "config" / "config.yaml"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    from hawk.training.architectures import build as untrained

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    tiny = untrained("qwen2_5_vl")
    tiny.model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    raw = yaml.safe_load(DEFAULT.read_text())
    raw["model"]["path"] = str(folder)
    raw["evaluation"]["samples"] = 4
    raw["cost"] = {"samples": 1, "repeats": 2, "max_new_tokens": 3, "variants": ["hawk-zero", "blind"]}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_config(path)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    from hawk.steps.prepare_samples import prepare_samples

    root = str(tmp_path_factory.mktemp("run"))
    prepare_samples(config, RunPaths(root), "evaluation", "easy_vqa")
    measure_cost(config, RunPaths(root))
    return root


def test_rows(run):
    table = read_table(RunPaths(run).cost(), COST, {"table": "cost", "benchmark": "easy_vqa"})
    rows = table.to_pandas()
    assert len(rows) == 2 * (1 + 2 * 3)  # repeats x (unpruned + variants x ratios)
    kept = rows.groupby(["variant", "pruning_ratio"])["kept_tokens"].first()
    assert kept["unpruned", "0"] == 64
    assert [kept["hawk-zero", ratio] for ratio in ("0.6", "0.8", "0.9")] == [26, 13, 7]
    assert (kept["blind"] == 0).all()
    # One sample, so nothing is rounded: bytes of the cache are exactly those of its tokens.
    tokens = rows["prompt_tokens"] - 64 + rows["kept_tokens"]
    assert (rows["kv_cache_bytes"] == tokens * 2 * 4 * 4 * 16 * 4).all()
    assert rows["prompt_tokens"].nunique() == 1
    parts = rows["vision_ms"] + rows["token_score_ms"] + rows["prefill_ms"]
    assert (parts < rows["total_ms"]).all()
    assert (rows[["vision_ms", "prefill_ms", "decode_ms_per_token", "peak_memory_bytes"]] > 0).all(axis=None)
    plain = rows["variant"] == "unpruned"
    assert (rows.loc[plain, "token_score_ms"] == 0).all()
    assert (rows.loc[~plain, "token_score_ms"] > 0).all()
    settings = json.loads(table.schema.metadata[b"hawk"])["settings"]
    assert settings["device"]
    assert settings["cost"]["max_new_tokens"] == 3


def test_table_and_curve(run):
    paths = RunPaths(run)
    assert make_cost_table(declared({}, "make_cost_table"), run) == [
        paths.table("cost", "csv"),
        paths.table("cost", "md"),
    ]
    table = cost_table(read_table(paths.cost(), COST).to_pandas())
    first = table.iloc[0]
    assert (first.variant, first.speedup, first.kv_cache_share) == ("unpruned", 1, 100)
    assert table["kv_cache_share"].tolist() == pytest.approx(table["ideal_share"].tolist())
    assert "| hawk-zero | 0.8 | 13 |" in cost_markdown(table)
    retention = pd.DataFrame(
        {
            "variant": ["hawk-zero"] * 3,
            "method": "hawk",
            "pruning_ratio": ["0.6", "0.8", "0.9"],
            "benchmark": "overall",
            "retention": [99.0, 96.0, 90.0],
            "ci_low": [98.0, 95.0, 88.0],
            "ci_high": [100.0, 97.0, 92.0],
        }
    )
    (axes,) = speedup_figure(table, retention).axes
    assert "speed-up" in axes.get_xlabel()
    assert len(axes.containers) == 1
    table["speedup"] = [1.0, *range(len(table) - 1, 0, -1)]  # fastest first: the line still follows ratios
    table["speedup_low"], table["speedup_high"] = table["speedup"] - 0.25, table["speedup"] + 0.5
    (axes,) = speedup_figure(table, retention).axes
    assert [text.get_text() for text in axes.texts] == ["unpruned", "60", "80", "90"]
    assert axes.containers[0].lines[0].get_ydata().tolist() == [99.0, 96.0, 90.0]
    line, _, (bars, _) = axes.containers[0].lines  # intervals of the speed-ups, then of retention
    assert [bar[:, 0].tolist() for bar in bars.get_segments()] == [
        [x - 0.25, x + 0.5] for x in line.get_xdata()
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("benchmark", "mme", r"unknown cost\.benchmark 'mme'"),
        ("variants", ["hawk-zeroes"], "Did you mean 'hawk-zero'"),
    ],
)
def test_mistakes(config, run, key, value, message):
    changed = {**config, "cost": {**config["cost"], key: value}}
    with pytest.raises(InputError, match=message):
        measure_cost(changed, RunPaths(run))


def test_a_chosen_layer_is_measured_and_other_weights_are_not_waited_for(config, run):
    """A deeper layer costs time; a head's weight does not."""
    vlm, paths = load_for(config, vision=True), RunPaths(run)
    named = {"name": "chosen", "ablation": ["selection", "selection-layer2"], "normalization": "min_shift"}
    identity = {"identity": {"recipe": "chosen", "subset": "pooled"}}
    weights = replace(HeadWeights.uniform(vlm.geometry, layer=2), provenance=identity)
    own = {"method": "hawk", "weights": "chosen"}
    changed = {**config, "weights": {"recipes": [*config["weights"]["recipes"], named]}}
    changed["cost"] = {**config["cost"], "variants": None}
    changed["evaluation"] = {
        **config["evaluation"],
        "ratios": [0.8],
        "variants": [
            {"name": "hawk-zero", "method": "hawk", "weights": "zero"},
            {"name": "plain", **own},
            {"name": "diverse", "method": "mmr", "scorer": own},
        ],
    }
    with pytest.raises(InputError, match=r"no such file or shipped name.*head_weights/chosen/pooled.json"):
        cost_pruners(changed, paths, vlm)
    weights.save(paths.head_weights("chosen"))
    found = {name: pruner for (name, _), pruner in cost_pruners(changed, paths, vlm).items()}
    assert not Path(paths.head_weights("zero")).exists()
    assert found["hawk-zero"].scoring_layer_index == 0
    assert found["plain"].scoring_layer_index == found["diverse"].scorer.scoring_layer_index == 2


def test_a_run_without_samples_has_nothing_to_measure_or_draw(config, run, tmp_path):
    name = "easy_vqa"
    table = read_table(RunPaths(run).samples("evaluation", name), SAMPLES)
    paths = RunPaths(tmp_path)
    write_table(
        paths.samples("evaluation", name), table.slice(0, 0), SAMPLES, provenance_of(table, "the samples")
    )
    with pytest.raises(InputError, match="cost: benchmark 'easy_vqa' has no samples"):
        measure_cost(config, paths)
    config = {
        **config,
        "evaluation": {**config["evaluation"], "benchmarks": [name]},
        "features": "recomputed",
    }
    with pytest.raises(InputError, match="benchmark 'easy_vqa' has no sample with a picture to draw"):
        kept_tokens(config, paths)


@pytest.mark.parametrize("family", sorted(MODELS))
def test_every_family_by_phase(family):
    """The answer is the one of generate; the cache holds what was kept and nothing else."""
    model = MODELS[family]()
    vlm = VisionLanguageModel(model, None, family_of(model))
    inputs = build(family, [[Image(2, 2), 20, 21]])
    model(**inputs)  # transformers puts its own hooks on when it first runs
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    pruner = Random(pruning_ratio=0.5)
    phases, new, _ = generate_by_phase(vlm, inputs, pruner, 4, fixed_length=True)
    with pruner.attach(model):
        expected = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert torch.equal(new, expected[:, inputs["input_ids"].shape[1] :])
    plain, *_ = generate_by_phase(vlm, inputs, None, 4, fixed_length=True)
    width = family_of(model).geometry(model).head_dim
    per_token = 2 * LAYERS * KV_HEADS * width * 4
    assert HEADS // KV_HEADS == 2
    assert plain.kv_cache_bytes == plain.prompt_tokens * per_token
    removed = phases.visual_tokens - phases.kept_tokens
    assert phases.kv_cache_bytes == (phases.prompt_tokens - removed) * per_token
    assert 0 < phases.kept_tokens < phases.visual_tokens == plain.kept_tokens
    assert plain.vision_ms > 0
    assert phases.vision_ms > 0
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
