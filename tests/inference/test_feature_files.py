"""A features file is not believed: header, sizes, values and origin are checked, each refusal one line."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hawk.core.errors import InputError
from hawk.core.provenance import provenance
from hawk.inference.feature_store import FeatureStore, feature_writer
from hawk.models.base import VisualItem

SOURCE = {"id": "someone/model", "revision": None, "dtype": "float32", "state": "abc"}
IDENTITY = {"role": "calibration", "benchmark": "colors"}


def item(seed: int, rows: int, columns: int) -> VisualItem:
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(rows * columns, 8, generator=generator) for _ in range(2)]
    return VisualItem(
        values[0], (1, rows, columns), levels=(values[1],), meta={"grid_thw": [1, rows, columns]}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "f.safetensors"
    with feature_writer(path, provenance(IDENTITY, model=SOURCE, preprocessing={})) as add:
        add("first", item(0, 2, 6), "path:first.mp4")
        add("second", item(1, 3, 4))
    return path


def tamper(
    path: Path, change: Callable[[dict[str, Any]], None], data: Callable[[bytes], bytes] = bytes
) -> None:
    """Change the header (metadata as parsed JSON) and the values of a features file."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    meta = {key: json.loads(value) for key, value in header["__metadata__"].items()}
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    parts = {**meta, "tensors": tensors}
    change(parts)
    tensors = parts.pop("tensors")
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in parts.items()}
    text = json.dumps({"__metadata__": texts, **tensors}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data(raw[8 + length :]))


def swap_grids(parts: dict[str, Any]) -> None:
    first, second = (parts["items"][key] for key in ("first", "second"))
    for key in ("grid", "meta"):
        first[key], second[key] = second[key], first[key]


def swap_tensors(parts: dict[str, Any]) -> None:
    tensors = parts["tensors"]
    tensors["first"], tensors["second"] = tensors["second"], tensors["first"]


def rename(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(parts: dict[str, Any]) -> None:
        parts["tensors"][new] = parts["tensors"].pop(old)

    return change


HEADERS = {
    "no items": (lambda parts: parts.pop("items"), "belongs to no item"),
    "no checksums": (lambda parts: parts.pop("checksums"), "key 'checksums.first' is missing"),
    "items broken": (lambda parts: parts.update(items='{"first"'), "damaged header"),
    "items a list": (lambda parts: parts.update(items=[]), "items is "),
    "provenance null": (lambda parts: parts.update(hawk=None), "hawk is None"),
    "no settings": (lambda parts: parts["hawk"].pop("settings"), "key 'settings' is missing"),
    "no model": (lambda parts: parts["hawk"]["settings"].pop("model"), "key 'model' is missing"),
    "no identity": (lambda parts: parts["hawk"].pop("identity"), "key 'identity' is missing"),
    "a tensor missing": (rename("first", "third"), "tensor 'first' is missing"),
    "a level missing": (rename("second.level0", "x"), "tensor 'second.level0' is missing"),
    "grid of another size": (
        lambda parts: parts["items"]["first"].update(grid=[1, 9, 9]), "12 tokens for a grid of",
    ),
    "grid negative": (lambda parts: parts["items"]["first"].update(grid=[1, -2, -6]), "side of grid is -2"),
    "grid a number": (lambda parts: parts["items"]["first"].update(grid=12), "grid is 12"),
    "levels text": (lambda parts: parts["items"]["first"].update(levels="1"), "levels is '1'"),
    "modality": (lambda parts: parts["items"]["first"].update(modality="sound"), "modality is 'sound'"),
    "a name of nothing": (lambda parts: parts["names"].update({"path:x": "third"}), "'path:x' is of no item"),
    "another benchmark": (
        lambda parts: parts["hawk"]["identity"].update(benchmark="shapes"), "benchmark 'shapes', its path",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_headers_are_checked_on_opening(path: Path, case: str) -> None:
    change, said = HEADERS[case]
    tamper(path, change)
    with pytest.raises(InputError, match=said) as caught:
        FeatureStore(path, IDENTITY)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def floats(value: float) -> Callable[[bytes], bytes]:
    return lambda raw: struct.pack("<f", value) * (len(raw) // 4)


VALUES = {
    "all NaN": (lambda parts: None, floats(float("nan")), "not finite"),
    "all infinite": (lambda parts: None, floats(float("inf")), "not finite"),
    "all zero": (lambda parts: None, floats(0.0), "nothing but zeros"),
    "one bit": (lambda parts: None, lambda raw: bytes([raw[0] ^ 1]) + raw[1:], "other values than"),
    "another image's grid": (swap_grids, bytes, "other values than"),
    "another image's values": (swap_tensors, bytes, "other values than"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_are_checked_when_read(path: Path, case: str) -> None:
    change, data, said = VALUES[case]
    tamper(path, change, data)
    store = FeatureStore(path, IDENTITY)
    for key in ("first", "path:first.mp4"):
        with pytest.raises(InputError, match=f"{said}.* for "):
            store[key]


def test_an_untouched_file_is_read_as_it_was_written(path: Path) -> None:
    tamper(path, lambda parts: None)  # written anew: only what it holds counts
    store = FeatureStore(path, IDENTITY)
    store.check(SOURCE, {}, hidden=8)
    for key, one in {
        "first": item(0, 2, 6),
        "path:first.mp4": item(0, 2, 6),
        "second": item(1, 3, 4),
    }.items():
        assert torch.equal(store[key].features, one.features)
        assert torch.equal(store[key].levels[0], one.levels[0])
        assert (store[key].grid, store[key].meta) == (one.grid, one.meta)


@pytest.mark.parametrize(
    ("source", "hidden", "said"),
    [
        ({"id": "another"}, 8, "model id 'someone/model'"),
        ({"state": "new"}, 8, "model state 'abc'; this job uses 'new'"),
        ({}, 16, "features are 8 wide; this model takes 16"),
    ],
)
def test_features_of_another_model(path: Path, source: dict[str, str], hidden: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        FeatureStore(path, IDENTITY).check({**SOURCE, **source}, {}, hidden)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_tower_that_gives_no_numbers_is_told_at_once(tmp_path: Path, value: float) -> None:
    bad = VisualItem(torch.full((4, 8), value), (1, 2, 2))
    path = tmp_path / "f.safetensors"
    said = r"the vision tower gives .* for image first"
    with pytest.raises(InputError, match=said), feature_writer(path, provenance(IDENTITY)) as add:
        add("first", bad)
    assert not (tmp_path / "f.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 100, struct.pack("<Q", 2**62) + b"{}"])
def test_files_that_are_no_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a readable features file"):
        FeatureStore(tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="not a readable features file"):
        FeatureStore(tmp_path)
