"""Paths of a run are built and read by the same patterns."""

from __future__ import annotations

import pytest

from hawk.core.errors import InputError
from hawk.core.paths import RunPaths

KINDS = {
    "samples": {"role": "evaluation", "benchmark": "digits"},
    "features": {"role": "calibration", "benchmark": "a.b-c"},
    "baseline": {"benchmark": "digits", "role": "evaluation"},
    "head_means": {"benchmark": "digits"},
    "head_gradients": {"ablation": "screen", "benchmark": "digits"},
    "mean_queries": {"recipe": "free", "benchmark": "digits"},
    "scores": {"benchmark": "digits", "ablation": "zero", "name": "L0H17"},
    "head_weights": {"recipe": "zero", "subset": "without-scenes"},
    "evaluation": {"benchmark": "digits", "variant": "hawk-zero"},
    "drops": {"ablation": "keep-0.9"},
    "stability": {"ablation": "zero"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("root", ["outputs/tiny", "/a/deep/folder/samples/run"])
def test_parse_is_the_inverse_of_building(kind: str, root: str) -> None:
    path = getattr(RunPaths(root), kind)(**KINDS[kind])
    paths, found, names = RunPaths.parse(path, kind)
    assert (paths.root, found, names) == (root, kind, KINDS[kind])


def test_kinds_are_tried_in_order() -> None:
    path = RunPaths("r").baseline("digits", "evaluation")
    assert RunPaths.parse(path, "baseline", "scores")[1] == "baseline"
    assert RunPaths.parse(path, "scores", "baseline")[1] == "scores"


@pytest.mark.parametrize("path", ["x/y.parquet", "o/samples/a/b.json", "o/samples/a/b/c.parquet", ""])
def test_a_path_of_another_step_is_refused(path: str) -> None:
    with pytest.raises(InputError, match=r"writes outputs/<run>/samples/\{role\}/\{benchmark\}\.parquet"):
        RunPaths.parse(path, "samples")
