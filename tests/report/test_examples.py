"""figures/head_scores.json is believed no further than any other file of a run."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from test_report import EXAMPLE

from hawk.core.errors import InputError
from hawk.report.examples import read_examples


def written(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "head_scores.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_what_the_step_writes_is_read_as_it_is(tmp_path: Path) -> None:
    several = {**EXAMPLE, "question": "one\ntwo"}
    assert read_examples(written(tmp_path, {"examples": [EXAMPLE, several]})) == [EXAMPLE, several]
    assert read_examples(written(tmp_path, {"examples": []})) == []


WRONG = {
    "benchmark": ("a</script>", "examples.0.benchmark is"),
    "question": (3, "examples.0.question is 3; it must be text"),
    "layer": (-1, "examples.0.layer is -1"),
    "ratio": ("\x1b[31m", "examples.0.ratio is"),
    "rows": (2.0, "examples.0.rows is 2.0; it must be a whole number from 1"),
    "columns": (3, "examples.0.scores.0 is .*; it must be 6 bytes"),
    "width": (0, "examples.0.width is 0"),
    "height": ("2", "examples.0.height is '2'"),
    "scores": (["!!!!"], "examples.0.scores.0 is '!!!!'; it must be 4 bytes"),
    "kept": ({"divprune": [4]}, "examples.0.kept.divprune is 4; it must be a whole number from 0 to 3"),
    "answers": ({"other": {"text": "a", "right": True}}, "answers is 'other'; it must be one of 'divprune'"),
    "image": ("https://somewhere/a.png", "examples.0.image is 'https.*; it must be a PNG or JPEG"),
}


@pytest.mark.parametrize("key", WRONG)
def test_what_cannot_be_is_refused_by_its_place(tmp_path: Path, key: str) -> None:
    value, said = WRONG[key]
    for change in ({key: value}, None):
        example = deepcopy(EXAMPLE)
        if change is None:
            del example[key]
            said = f"the key 'examples.0.{key}' is missing"
        else:
            example |= change
        path = written(tmp_path, {"examples": [example]})
        with pytest.raises(InputError, match=said) as caught:
            read_examples(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "not example images of a run"),
        ("{", "not example images of a run"),
        ([], r"the file is \[\]"),
        ({}, "the key 'examples' is missing"),
        ({"examples": {}}, "examples is {}; it must be a list"),
        ({"examples": [3]}, "examples.0 is 3"),
        ({"examples": [{**EXAMPLE, "kept": {"divprune": [1, 1]}}]}, "names a token twice"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_examples(written(tmp_path, value))


def test_the_report_reads_it_so(tmp_path: Path) -> None:
    from factories import make_config, measure_drops, toy_benchmarks, write_run

    from hawk.core.paths import RunPaths
    from hawk.report.run import Run

    with toy_benchmarks():
        config = make_config(statistics={"resamples": 50, "confidence": 0.95, "repeats": 1})
        write_run(tmp_path, config)
        measure_drops(config, tmp_path)
    file = Path(RunPaths(str(tmp_path)).head_scores())
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"examples": [{}]}')
    with pytest.raises(InputError, match="head_scores.json: the key 'examples.0.benchmark' is missing"):
        Run.read(config, str(tmp_path))
