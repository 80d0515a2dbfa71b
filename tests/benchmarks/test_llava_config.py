"""The config of the rivals' tables on a random LLaVA-1.5 with the real count of 576 tokens an image.

Real processor class, real benchmarks' rows, every variant at every ratio, through the workflow's steps:
the counts kept are those of the papers' tables, and the rivals' numbers stand beside the rivals alone.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import hub_rows
import pandas as pd
import pytest
import tiny_prompts
import tiny_random
from conftest import ROOT

import hawk.steps.session
from hawk.benchmarks.pope import POPE
from hawk.config.load import load_config
from hawk.core.paths import RunPaths
from hawk.steps.encode_images import encode_images
from hawk.steps.evaluate_pruned import evaluate_pruned, open_session
from hawk.steps.make_tables import make_tables
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.score_samples import score_samples
from hawk.steps.session import Session

BENCHMARKS = ["pope"]
KEPT = {"0.6667": 192, "0.7778": 128, "0.8889": 64}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    clip = {**tiny_random.CLIP, "image_size": 96}  # 24 x 24 patches of 4, as CLIP-L/14's of 336
    text = {**tiny_random.TEXT, "model_type": "llama"}
    config = LlavaConfig(
        text_config=text, vision_config=clip, image_token_index=tiny_random.IMAGE, image_seq_length=576
    )
    folder = tmp_path_factory.mktemp("llava")
    tiny_random.build(LlavaForConditionalGeneration, config, "sdpa", 0).save_pretrained(folder)
    size = {"height": 96, "width": 96}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 96}, crop_size=size),
        tiny_prompts.tokenizer("vicuna"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token
        chat_template=tiny_prompts.VICUNA_TEMPLATE,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def config(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    config = load_config(ROOT / "config/llava_1_5_7b.yaml")
    config["model"] |= {"path": str(model), "dtype": "float32", "device": "cpu", "layers": 3, "heads": 4}
    config["evaluation"] |= {
        "benchmarks": BENCHMARKS,
        "samples": 6,
        # Weights of the run's own need the calibration, which test_every_benchmark.py takes all the way.
        "variants": [
            {**one, "seeds": 1} if "seeds" in one else one
            for one in config["evaluation"]["variants"]
            if one.get("weights") in (None, "uniform")
        ],
    }
    config["statistics"]["resamples"] = 100
    rows = tmp_path_factory.mktemp("rows")
    config["data"] = {name: {"path": str(hub_rows.write(name, rows / name))} for name in BENCHMARKS}
    return config


@pytest.fixture(scope="module")
def table(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    paths = RunPaths(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(POPE, "lmms_tokens", 2)
        patch.setattr(hawk.steps.session, "load", functools.cache(hawk.steps.session.load))
        for name in BENCHMARKS:
            prepare_samples(config, paths, "evaluation", name)
            encode_images(config, paths, "evaluation", name)
            baseline = [("evaluation", paths.baseline(name, "evaluation"))]
            score_samples(Session.open(config, paths, name, "evaluation"), baseline)
            for variant in config["evaluation"]["variants"]:
                evaluate_pruned(open_session(config, paths, name, variant["name"]), variant["name"])
    make_tables(config, paths.root)
    return pd.read_parquet(paths.table("retention", "parquet"))


def test_every_variant_keeps_the_counts_of_the_papers(table: pd.DataFrame) -> None:
    rows = table[table["benchmark"].isin(BENCHMARKS) & table["pruning_ratio"].isin(KEPT)]
    for row in rows.itertuples():
        assert row.visual_tokens == 576
        assert row.kept_tokens == (0 if row.variant == "blind" else KEPT[row.pruning_ratio]), row.variant
    assert {"visionzip", "fastv", "dart", "divprune", "cdpruner", "mmtok"} <= set(rows["variant"])


def test_published_numbers_stand_beside_their_own_variant(
    table: pd.DataFrame, config: dict[str, Any]
) -> None:
    found = table[table["published"].notna()]
    shown = {(row.variant, row.pruning_ratio, row.benchmark): row.published for row in found.itertuples()}
    written = {
        (variant, ratio, name): value
        for variant, ratios in config["evaluation"]["published"].items()
        for ratio, values in ratios.items()
        for name, value in values.items()
        if name in BENCHMARKS
    }
    assert shown == written
    assert shown["visionzip", "0.8889", "pope"] == 77.0
    assert ("random", "0.8889", "pope") not in shown
