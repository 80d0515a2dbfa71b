"""Where a model may be written: an hour of training must not end in another folder's place."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import EMBEDDED

from hawk.core.errors import InputError
from hawk.training import train


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise AssertionError("the training began")

    monkeypatch.setattr(train, "train_vision", stop)
    monkeypatch.setattr(train, "_run_language_cycles", stop)


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run", "holds more than a model"),
        ("file", "file is no folder"),
        ("file/model", "file is no folder"),
        ("run/..", "no name of a folder"),
    ],
)
def test_what_is_no_model_is_not_replaced(tmp_path: Path, name: str, said: str) -> None:
    """The folder was put aside at the end of the training, and deleted with the rest."""
    (tmp_path / "run/scores").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    before = contents(tmp_path)
    for start in (
        lambda: train.train("qwen2_5_vl", 0, tmp_path / name),
        lambda: train.continue_folder(EMBEDDED, 0, tmp_path / name),
    ):
        with pytest.raises(InputError, match=said):
            start()
    assert contents(tmp_path) == before


def test_no_name_at_all() -> None:
    with pytest.raises(InputError, match="no name of a folder"):
        train.train("qwen2_5_vl", 0, Path(""))


def test_a_new_folder_and_a_models_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    for name in ("new", "empty", "model"):
        train.check_folder(tmp_path / name)


def test_the_language_model_that_it_starts_from_is_missed_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="starts from the language model of .*train that first"):
        train.train("internvl", 0, tmp_path / "model")
    assert not contents(tmp_path)
