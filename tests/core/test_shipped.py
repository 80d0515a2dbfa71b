"""Paths of files that ship with hawk, as users write them from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.shipped import check_model_folder, profile, resolve


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_relative_path_is_found_among_the_shipped_files(elsewhere: Path) -> None:
    assert resolve("data/models/tiny-qwen2.5-vl") == str(ROOT / "data/models/tiny-qwen2.5-vl")
    (elsewhere / "data/models/tiny-qwen2.5-vl").mkdir(parents=True)
    assert resolve("data/models/tiny-qwen2.5-vl") == "data/models/tiny-qwen2.5-vl", "what lies here wins"


@pytest.mark.parametrize(
    "path", ["", "Qwen/Qwen2.5-VL-7B-Instruct", "../data", "~/data", "/data", "nope.yaml"]
)
def test_any_other_path_stays_as_it_is(path: str) -> None:
    assert resolve(path) == path


def test_weights_are_loaded_by_their_shipped_path() -> None:
    assert HeadWeights.load("data/head_weights/qwen2.5-vl-7b.json") == HeadWeights.load("qwen2.5-vl-7b")


@pytest.mark.parametrize("path", ["x" * 5000, "a/" + "b" * 5000, "a b/c", "a/b\0"])
def test_a_model_that_is_neither_a_folder_nor_a_hub_id(path: str) -> None:
    with pytest.raises(InputError, match="^model.path '.*': no such model folder"):
        check_model_folder(path)
    check_model_folder("Qwen/Qwen2.5-VL-7B-Instruct")


def test_profiles() -> None:
    assert profile("slurm") == str(ROOT / "profiles/slurm")
    assert profile("default") == str(ROOT / "profiles/default")
    assert [profile(name) for name in ("mine", "", "none")] == ["mine", "", "none"]
