"""Weight files from outside: every value is checked on reading, and the refusal is one printable line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights, weights_of_run
from hawk.core.heads import Geometry, Head
from hawk.core.paths import RunPaths

GOOD = HeadWeights(
    weights=(0.1, 0.2, 0.3, 0.4),
    geometry=Geometry(3, 4, 2, 16),
    layer=1,
    model={"id": "someone/model", "revision": None, "family": "qwen2_5_vl"},
    weight_normalization="min_shift",
    intervention="zero",
    token_score={"normalization": "l2", "reduction": "mean", "rope": False, "query_span": "instruction"},
    per_benchmark={"colors": (0.1, 0.2, 0.3, 0.4)},
    samples={"colors": 24, "left-out": 12},
    calibration_groups="abc",
)


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for key in keys[:-1]:
            raw = raw[key]
        raw[keys[-1]] = value

    return change


BAD = {
    "weights a number": (put("weights", value=3), "weights is 3"),
    "weights null": (put("weights", value=None), "weights is None"),
    "weights text": (put("weights", value="abcd"), "weights is 'abcd'"),
    "a weight too large for a sum": (put("weights", value=[1e308] * 4), "sum to inf"),
    "a whole number beyond floats": (put("weights", 0, value=10**400), "the weight of head 0"),
    "a weight is true": (put("weights", 0, value=True), "the weight of head 0 is True"),
    "a weight is not finite": (put("weights", 0, value=float("nan")), "the weight of head 0 is nan"),
    "weights sum to 4": (put("weights", value=[1, 1, 1, 1]), "sum to 4"),
    "layer as text": (put("layer", value="0"), "layer is '0'"),
    "layer as float": (put("layer", value=0.0), "layer is 0.0"),
    "layer null": (put("layer", value=None), "layer is None"),
    "layer out of range": (put("layer", value=3), "layer 3 is outside the model's 0-2"),
    "heads as float": (put("model", "heads", value=4.5), "model.heads is 4.5"),
    "head_dim negative": (put("model", "head_dim", value=-1), "model.head_dim is -1"),
    "kv_heads that do not divide": (put("model", "kv_heads", value=3), "3 key-value heads"),
    "model a list": (put("model", value=[]), r"model is \[\]"),
    "NaN per benchmark": (put("per_benchmark", "colors", 1, value=float("nan")), "per_benchmark.colors"),
    "too few per benchmark": (put("per_benchmark", "colors", value=[1.0]), "1 weights for 4 heads"),
    "per benchmark of no samples": (put("samples", value={"left-out": 1}), "which samples do not name"),
    "a benchmark that is a path": (put("samples", value={"../../x": 1}), "'../../x'"),
    "a benchmark with a newline": (put("samples", value={"x\n": 1}), r"'x\\n'"),
    "negative samples": (put("samples", "colors", value=-1), "samples.colors is -1"),
    "unknown token score": (put("token_score", "normalization", value="l3"), "is 'l3'; .* 'l2'"),
    "rope as a number": (put("token_score", "rope", value=0), "token_score.rope is 0"),
    "another token-score key": (put("token_score", "colour", value=1), "token_score is"),
    "half a token score": (lambda raw: raw["token_score"].pop("rope"), "token_score is"),
    "provenance missing": (lambda raw: raw.pop("provenance"), "'provenance' is missing"),
    "provenance null": (put("provenance", value=None), "provenance is None"),
    "provenance empty": (put("provenance", value={}), "provenance is empty"),
    "escape sequence in the model id": (put("model", "id", value="\x1b[2Jx"), r"model.id is '\\x1b\[2Jx'"),
    "escape sequence in the format": (put("format", value="\x1b[2J"), r"format '\\x1b\[2J'"),
    "intervention with a newline": (put("intervention", value="zero\n"), r"intervention is 'zero\\n'"),
    "direction marks in the family": (put("model", "family", value="a\u202eb"), r"model.family"),
    "an unknown key": (put("wieghts", value=[1, 0, 0, 0]), "unknown key 'wieghts'. Did you mean 'weights'"),
    "format as float": (put("format", value=1.0), "format 1.0; this version reads"),
    "a mean query in format 1": (put("mean_query", value=[[0.0] * 8] * 4), "format is 1; .* of format 2"),
    "groups a number": (put("calibration_groups", value=5), "calibration_groups is 5"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_in_one_line_that_names_the_file(tmp_path: Path, case: str) -> None:
    change, said = BAD[case]
    raw = GOOD.to_json()
    change(raw)
    path = tmp_path / "w.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=said) as caught:
        HeadWeights.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable(), "a message must not steer the terminal"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "not a head-weights file"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": 1, "format": 1}', "'format' is written twice"),
        (b"9" * 10_000, "not a head-weights file"),
        (b"", "not a head-weights file"),
        (b"null", "format 'NoneType'"),
    ],
    ids=["binary", "deep", "a key twice", "digits without end", "empty", "null"],
)
def test_files_that_are_no_json_object(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        HeadWeights.load(path)


def test_the_file_they_were_made_from_is_read(tmp_path: Path) -> None:
    GOOD.save(tmp_path / "w.json")
    assert HeadWeights.load(tmp_path / "w.json") == GOOD


QUERY = tuple(tuple(float(head + part / 16) for part in range(16)) for head in range(4))


def test_format_2_holds_a_mean_query_and_format_1_is_what_has_none(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    with_query = replace(GOOD, mean_query=QUERY)
    with_query.save(path)
    raw = json.loads(path.read_text())
    assert raw["format"] == 2
    assert HeadWeights.load(path) == with_query != GOOD
    assert len(repr(with_query)) == len(repr(GOOD)), "too long to print"
    del raw["mean_query"]
    path.write_text(json.dumps(raw))  # format 2 without one
    assert HeadWeights.load(path) == GOOD
    GOOD.save(path)
    assert json.loads(path.read_text())["format"] == 1
    for bad, said in (
        (QUERY[:3], "mean_query: 3 rows of 16 numbers; the model has 4 heads of 16"),
        ([[1.0] * 15, *QUERY[1:]], "mean_query: 4 rows of 15 or 16 numbers"),
        ([], "mean_query: 0 rows of no numbers"),
        ([["1"] * 16, *QUERY[1:]], "mean_query: a number of head 0"),
        ([*QUERY[:3], [float("nan")] * 16], "mean_query: a number of head 3"),
        (5, "mean_query is 5"),
        ([5] * 4, "a row of mean_query is 5"),
    ):
        path.write_text(json.dumps({**with_query.to_json(), "mean_query": bad}))
        with pytest.raises(InputError, match=said):
            HeadWeights.load(path)


def test_a_file_from_before_the_reduction_was_written_means_the_mean(tmp_path: Path) -> None:
    raw = GOOD.to_json()
    del raw["token_score"]["reduction"]
    (tmp_path / "w.json").write_text(json.dumps(raw))
    assert HeadWeights.load(tmp_path / "w.json") == GOOD
    raw["token_score"] = {}  # of weights that were measured without any token score
    (tmp_path / "w.json").write_text(json.dumps(raw))
    assert HeadWeights.load(tmp_path / "w.json").token_score == {}


def test_signed_weights_are_shares_by_their_sizes(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    HeadWeights((3.0, -1.0), Geometry(1, 2, 1, 8), weight_normalization="signed").save(path)
    assert HeadWeights.load(path).weights == (0.75, -0.25)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "weights": [1.25, -0.25]}))  # these sum to 1, their sizes do not
    with pytest.raises(InputError, match="sum to 1.5"):
        HeadWeights.load(path)
    path.write_text(json.dumps({**raw, "weight_normalization": "min_shift"}))
    with pytest.raises(InputError, match="head 1 has weight -0.25; it must be 0 or more"):
        HeadWeights.load(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": None}, "weights is None"),
        ({"weights": (w for w in (1.0, 0.0))}, "weights is <generator"),
        ({"weights": 3}, "weights is 3"),
        ({"layer": "0"}, "layer is '0'"),
        ({"layer": 0.0}, "layer is 0.0"),
        ({"layer": True}, "layer is True"),
        ({"model": "x"}, "model is 'x'"),
        ({"samples": None}, "samples is None"),
        ({"mean_query": 3}, "mean_query is 3"),
        ({"mean_query": (None,) * 4}, "a row of mean_query is None"),
        ({"weight_normalization": None}, "weight_normalization is None"),
        ({"weight_normalization": "signed\n"}, "weight_normalization is 'signed"),
        ({"intervention": 5}, "intervention is 5"),
        ({"calibration_groups": 5}, "calibration_groups is 5"),
        ({"model": {"id": 3}}, "model.id is 3"),
        ({"model": {"heads": "4"}}, "model has 'heads', which the geometry says"),
        ({"samples": {"a": 0.5}}, "samples.a is 0.5"),
        ({"samples": {"../x": 1}}, "'../x'"),
        ({"token_score": {"rope": "maybe"}}, "token_score is"),
        ({"token_score": {**GOOD.token_score, "rope": "maybe"}}, "token_score.rope is 'maybe'"),
        ({"samples": {"a": 1}, "per_benchmark": {"a": None}}, "per_benchmark.a is None"),
        ({"samples": {"a": 1}, "per_benchmark": {"a": (1, 0)}}, "per_benchmark.a: 2 weights for 4 heads"),
        ({"per_benchmark": {"a": (1, 0, 0, 0)}}, "which samples do not name"),
        ({"provenance": {}}, "provenance is empty"),
        ({"provenance": {"when": object()}}, "provenance cannot be written as JSON"),
        ({"provenance": {"drop": float("nan")}}, "provenance cannot be written as JSON"),
        ({"provenance": {"name": "\ud800"}}, "provenance cannot be written as JSON"),
    ],
)
def test_what_is_no_weights_is_refused_when_it_is_built(changes: dict[str, Any], said: str) -> None:
    made: dict[str, Any] = {"weights": (0.25,) * 4, "geometry": Geometry(2, 4, 2, 8)}
    with pytest.raises(InputError, match=said):
        HeadWeights(**{**made, **changes})


def test_tables_that_were_changed_into_what_no_file_holds_are_not_saved(tmp_path: Path) -> None:
    for name, key, value in (
        ("token_score", "rope", "maybe"),
        ("samples", "../x", 1),
        ("model", "id", "\x1b[2J"),
        ("per_benchmark", "colors", None),
    ):
        weights = replace(GOOD, **{name: dict(getattr(GOOD, name))})
        getattr(weights, name)[key] = value
        with pytest.raises(InputError, match="^head weights: "):
            weights.save(tmp_path / "w.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 3, b"w.json", "w\0.json", ["w.json"]], ids=repr)
def test_a_file_to_write_is_named_by_a_path(path: Any) -> None:
    with pytest.raises(InputError, match="the file to write is .*; it must be a path"):
        GOOD.save(path)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" + "b" * 5000, "x" * 5000 + ".json", "x\0y"])
def test_a_name_that_no_disk_can_hold_is_no_weights(name: str) -> None:
    with pytest.raises(InputError, match="unknown head weights .no such file or shipped name. '[^']+'"):
        HeadWeights.load(name)


def test_whole_numbers_of_numpy_and_a_score_without_its_reduction_are_written(tmp_path: Path) -> None:
    geometry = Geometry(np.int64(2), np.int64(2), np.int64(1), np.int64(8))
    score = {key: value for key, value in GOOD.token_score.items() if key != "reduction"}
    weights = HeadWeights(
        (0.5, 0.5), geometry, layer=np.int64(1), samples={"a": np.int64(3)}, token_score=score
    )
    weights.save(tmp_path / "w.json")
    read = HeadWeights.load(tmp_path / "w.json")
    assert (read.layer, read.samples, read.token_score) == (1, {"a": 3}, {**score, "reduction": "mean"})
    assert weights.sha256 == read.sha256 == replace(read, provenance={"from": "elsewhere"}).sha256
    assert weights.sha256 != replace(read, layer=0).sha256


def test_a_run_may_be_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    GOOD.save(RunPaths(".").head_weights("zero"))
    assert weights_of_run(RunPaths(".").head_weights("zero")) == GOOD


def test_a_runs_weights_are_those_that_their_path_says(tmp_path: Path) -> None:
    """Another recipe's file in the place of this one was used without a word."""
    paths = RunPaths(tmp_path / "outputs/toy")
    of_zero = replace(GOOD, provenance={"identity": {"recipe": "zero", "subset": "pooled"}})
    of_zero.save(paths.head_weights("zero"))
    assert weights_of_run(paths.head_weights("zero")) == of_zero
    for recipe, subset in (("mean", "pooled"), ("zero", "without-x")):
        path = paths.head_weights(recipe, subset)
        of_zero.save(path)
        with pytest.raises(InputError, match="the file says .*, its path says .* moved or mixed up"):
            weights_of_run(path)
    GOOD.save(paths.head_weights("own"))  # it says nothing of a recipe
    assert weights_of_run(paths.head_weights("own")) == GOOD


def test_raw_weights_are_saved_as_shares(tmp_path: Path) -> None:
    HeadWeights((3.0, 1.0), Geometry(1, 2, 1, 8)).save(tmp_path / "w.json")
    assert HeadWeights.load(tmp_path / "w.json").weights == (0.75, 0.25)


@pytest.mark.parametrize(
    "weights", [{0: 0.5, 1: 0.3, 2: 0.1, 3: 0.1}, {0.4, 0.3, 0.2, 0.1}, b"\1\1\1\1", "1111"]
)
def test_weights_that_have_no_order_of_heads_are_refused(weights: Any) -> None:
    """Of a mapping the heads' numbers were taken for weights, of a set any order."""
    with pytest.raises(InputError, match="weights is .*; it must be a list of numbers, one per head"):
        HeadWeights(weights=weights, geometry=Geometry(2, 4, 2, 8))


@pytest.mark.parametrize("geometry", [None, (2, 4, 2, 8), "x"])
def test_a_geometry_is_one(geometry: Any) -> None:
    for build in (HeadWeights.uniform, lambda given: HeadWeights(weights=(1.0,), geometry=given)):
        with pytest.raises(InputError, match="head weights: geometry is .*; it must be a Geometry"):
            build(geometry)


@pytest.mark.parametrize(
    "sizes", [(True, 4, 2, 8), ("2", 4, 2, 8), (2.0, 4, 2, 8), (2, 4, 2, None), (0, 4, 2, 8)]
)
def test_the_sizes_of_a_geometry_are_whole_numbers(sizes: Any) -> None:
    with pytest.raises(InputError, match="geometry: .* is .*; it must be a whole number from 1 to 100000"):
        Geometry(*sizes)


def test_heads_share_key_value_heads_evenly() -> None:
    with pytest.raises(InputError, match="geometry: 8 heads cannot share 3 key-value heads evenly"):
        Geometry(2, 8, 3, 8)


@pytest.mark.parametrize("numbers", [(True, 1), (0.5, 1), ("0", "1"), (None, 1), (-1, 0), (0, -1)])
def test_a_head_is_two_whole_numbers(numbers: Any) -> None:
    with pytest.raises(InputError, match="head: .* is .*; it must be a whole number from 0"):
        Head(*numbers)
