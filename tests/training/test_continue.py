"""The last cycle alone, on a saved model: two steps with few images."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from hawk.benchmarks.toy.easy_vqa import read_images
from hawk.core.shipped import shipped
from hawk.training import language_stage, train


def test_continuing_changes_the_language_model_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIMPLE_SCENES", "SCENES", "HELD_OUT_SCENES"):
        monkeypatch.setattr(language_stage, name, 8)
    monkeypatch.setattr(language_stage, "IMAGES", 4)
    monkeypatch.setattr(language_stage, "read_images", lambda split: islice(read_images(split), 8))
    monkeypatch.setattr(train, "LANGUAGE_CYCLES", {"qwen2_5_vl": {language_stage.SUBSET_CYCLE: 2}})
    monkeypatch.setattr(train, "_write_card", lambda *_, **__: None)
    start = shipped("data") / "models" / "tiny-qwen2.5-vl"
    train.continue_folder(start, 0, tmp_path / "continued")
    assert [file.name for file in tmp_path.iterdir()] == ["continued"]
    before = AutoModelForImageTextToText.from_pretrained(start).state_dict()
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "continued").state_dict()
    AutoProcessor.from_pretrained(tmp_path / "continued")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    # The head is the embedding table.
    assert all("language_model" in name or name == "lm_head.weight" for name in changed)
