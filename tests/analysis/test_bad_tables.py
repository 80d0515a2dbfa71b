"""Tables of a run are not believed: what cannot be is refused by whatever reads it, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from factories import make_config, measure_drops, toy_benchmarks, write_run

from hawk.analysis.evaluation_files import read_evaluation
from hawk.analysis.stability import read_stability
from hawk.benchmarks.samples import read_samples
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.report.run import Run

Edit = Callable[[pd.DataFrame], Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    root = str(tmp_path_factory.mktemp("run"))
    with toy_benchmarks():
        config = write_run(root, make_config(statistics={"resamples": 100, "confidence": 0.95, "repeats": 1}))
        measure_drops(config, root)
    return root, config


class Changed:
    """A table with edited rows or settings while the block runs; its file is as before afterwards."""

    def __init__(self, path: str, schema: Any, edit: Edit = lambda frame: None, **settings: Any) -> None:
        self.path, self.before = Path(path), Path(path).read_bytes()
        table = pq.read_table(path, partitioning=None)
        made = files.provenance_of(table, path)
        made["settings"].update(settings)
        frame = table.to_pandas()
        edited = edit(frame)
        files.write_table(path, frame if edited is None else edited, schema, made)

    def __enter__(self) -> Changed:
        return self

    def __exit__(self, *error: object) -> None:
        self.path.write_bytes(self.before)


def put(column: str, value: Any) -> Edit:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        new = frame[column].tolist()
        new[3] = value
        return frame.assign(**{column: pd.Series(new, index=frame.index, dtype=object)})

    return edit


SCORES = {
    "score above 1": (put("score", 1.5), "score 1.5; scores lie in"),
    "score NaN": (put("score", float("nan")), "score nan; scores lie in"),
    "nothing parsed but scored": (lambda f: f.assign(score=1.0, parsed=None), "0 where nothing was parsed"),
    "positive log-probability": (put("reference_logprob", 2.0), "reference_logprob 2.0; .* at most 0"),
    "log-probability missing": (put("reference_logprob", None), "reference_logprob nan"),
    "log-probability infinite": (put("reference_logprob", -float("inf")), "reference_logprob -inf"),
    "negative tokens": (put("visual_tokens", -3), "visual_tokens -3; it must be 0 or more"),
    "negative prompt": (put("prompt_tokens", -3), "prompt_tokens -3"),
    "more kept than there were": (
        put("kept_tokens", 999),
        "999; it must be at most visual_tokens",
    ),
    "more visual tokens than the prompt has": (
        put("prompt_tokens", 1),
        "64; .* at most prompt_tokens",
    ),
    "a first word scored above 1": (put("first_word_score", 7.0), "first_word_score 7.0; scores lie in"),
    "a first word scored infinite": (put("first_word_score", -float("inf")), "first_word_score -inf"),
    "not known to have stopped": (put("stopped", None), "stopped None; it must be true or false"),
    "tokens missing": (put("kept_tokens", None), "kept_tokens None"),
    "no prediction": (put("prediction", None), "prediction None"),
    "no id": (put("sample_id", None), "sample_id None"),
    "an id twice": (put("sample_id", "toy-evaluation-0000"), "occurs twice"),
}


@pytest.mark.parametrize("case", SCORES)
@pytest.mark.parametrize("reader", ["fast", "whole"])
def test_score_tables(run: tuple[str, dict[str, Any]], case: str, reader: str) -> None:
    root, config = run
    path = RunPaths(root).baseline("toy", "evaluation")
    edit, said = SCORES[case]
    with (
        toy_benchmarks(),
        Changed(path, schemas.SCORES, edit),
        pytest.raises(InputError, match=said) as caught,
    ):
        if reader == "fast":
            read_evaluation(config, root)
        else:
            files.read_table(path, schemas.SCORES)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_score_against_prediction(run: tuple[str, dict[str, Any]]) -> None:
    """Where the file's rules are today's, its answers and scores are computed again."""
    root, config = run
    path = RunPaths(root).baseline("toy", "evaluation")

    def wrong(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(score=1.0 - frame["score"], parsed="said")

    with toy_benchmarks():
        from hawk.benchmarks import benchmark

        version = benchmark("toy").version
        said = r"is parsed as .* and scores .*; the file has 'said' and"
        changed = Changed(path, schemas.SCORES, wrong, benchmark_version=version)
        with changed, pytest.raises(InputError, match=said):
            read_evaluation(config, root)
        variants = [RunPaths(root).evaluation("toy", v["name"]) for v in config["evaluation"]["variants"]]

        # The control: the same files, untouched, are what the rules give.
        def silent(frame: pd.DataFrame) -> pd.DataFrame:
            return frame.assign(prediction=frame["parsed"].fillna(""))

        kept = [Changed(path, schemas.SCORES, silent, benchmark_version=version)]
        kept += [Changed(one, schemas.EVALUATION, silent, benchmark_version=version) for one in variants]
        try:
            read_evaluation(config, root)
        finally:
            for one in kept:
                one.__exit__()


EVALUATIONS = {
    "another seed": (lambda f: f.assign(seed=7), r"seeds \[7\]"),
    "one seed more": (
        lambda f: pd.concat([f, f.assign(seed=1)]), "2 seeds; variant 'divprune' has seeds: 1",
    ),
    "negative seed": (lambda f: f.assign(seed=-1), "seed -1"),
    "a ratio not asked for": (
        lambda f: pd.concat([f, f[f.pruning_ratio == "0.6"].assign(pruning_ratio="0.5")]),
        "ratio 0.5, which evaluation.ratios do not have",
    ),
    "a ratio that is none": (lambda f: f.assign(pruning_ratio="1.5"), "pruning_ratio '1.5'"),
    "a ratio with a newline": (lambda f: f.assign(pruning_ratio="0.6\n"), r"pruning_ratio '0.6\\n'"),
    "a row twice": (lambda f: pd.concat([f, f.iloc[:1]]), "occurs twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", EVALUATIONS)
def test_evaluation_tables(run: tuple[str, dict[str, Any]], case: str) -> None:
    root, config = run
    edit, said = EVALUATIONS[case]
    path = RunPaths(root).evaluation("toy", "divprune")
    with toy_benchmarks(), Changed(path, schemas.EVALUATION, edit), pytest.raises(InputError, match=said):
        read_evaluation(config, root)


@pytest.mark.parametrize(
    "settings",
    [
        {"scoring": {"layer": 0, "normalization": "softmax", "rope": False, "query_span": "instruction"}},
        {
            "token_score": {
                "normalization": "softmax",
                "reduction": "mean",
                "rope": False,
                "query_span": "instruction",
            }
        },
        {"threads": 9},
        {"seed": 5},
        {"device": "cuda"},
        {"batch_size": 3},
        {"preprocessing": {"min_pixels": 4}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_of_two_configs_in_one_table(
    run: tuple[str, dict[str, Any]], settings: dict[str, Any]
) -> None:
    root, config = run
    path = RunPaths(root).evaluation("toy", "divprune")
    said = f"{next(iter(settings))} .* cannot be compared"
    with (
        toy_benchmarks(),
        Changed(path, schemas.EVALUATION, **settings),
        pytest.raises(InputError, match=said),
    ):
        read_evaluation(config, root)


SAMPLES = {
    "no group": (put("group_id", None), "group_id None"),
    "empty group": (put("group_id", ""), "group_id ''"),
    "no image": (put("images", []), "one image at least"),
    "image without bytes": (put("images", [{"bytes": None, "path": "x"}]), "files with bytes"),
    "image with no bytes": (put("images", [{"bytes": b"", "path": None}]), "files with bytes"),
    "video of nothing": (put("video", {"bytes": None, "path": None}), "a file with bytes or a path"),
    "no answer": (put("references", []), "one answer at least"),
    "null answer": (put("references", ["yes", None]), "a list of texts"),
    "null option": (put("options", [None]), "a list of texts"),
    "no answer but an empty one": (put("references", ["", ""]), "one answer at least"),
    "a box the wrong way round": (put("relevant", [[5, 5, 1, 9]]), "boxes must be"),
    "a box outside": (put("relevant", [[0, 0, 4, 4], [0, -5, 1, 1]]), "boxes must be"),
    "no question": (put("question", None), "question None"),
    "an id twice": (put("sample_id", "toy-evaluation-0000"), "occurs twice"),
}


@pytest.mark.parametrize("case", SAMPLES)
@pytest.mark.parametrize("images", [True, False], ids=["with bytes", "keys only"])
def test_samples_tables(run: tuple[str, dict[str, Any]], case: str, images: bool) -> None:
    root, _ = run
    edit, said = SAMPLES[case]
    path = RunPaths(root).samples("evaluation", "toy")
    with Changed(path, schemas.SAMPLES, edit), pytest.raises(InputError, match=said) as caught:
        read_samples(path, "evaluation", "toy", images=images)
    assert "row 3" in str(caught.value)


DROPS = {
    "a head that does not exist": (put("head", 99), "L0H99, but the model has 4 heads"),
    "a layer that does not exist": (put("layer", 9), "the model has 2 layers"),
    "a negative head": (put("head", -1), "head -1"),
    "a head twice": (put("head", 0), "occurs twice"),
    "a drop that is none": (put("drop", None), "drop nan"),
    "an infinite interval": (put("ci_high", float("inf")), "ci_high inf"),
    "half an interval": (put("ci_low", None), "ci_low nan; both ends must be finite, or both missing"),
    "no interval and no noise": (
        lambda f: f.assign(ci_low=np.nan, ci_high=np.nan, is_noise=False),
        "is_noise False; it must be what the interval",
    ),
    "an interval the wrong way round": (lambda f: f.assign(ci_low=f.ci_high + 1), "at most ci_high"),
    "no noise mark": (put("is_noise", None), "is_noise None"),
    "more unparsed than samples": (put("unparsed", 999), "at most samples"),
    "negative floor": (put("noise_floor", -1.0), "noise_floor -1.0"),
    "no samples": (put("samples", 0), "samples 0"),
    "a drop that its values do not give": (put("drop", 55.5), "drop 55.5; it must be what the native"),
    "drops of the other sign": (lambda f: f.assign(drop=-f["drop"]), "it must be what the native values say"),
    "an ablated value that does not give the drop": (
        put("ablated_value", -3.0),
        "it must be what the native values say",
    ),
    "another reference": (put("reference_value", 12.0), "reference_value 12.0; all heads of a benchmark"),
    "other samples": (put("groups", 7), "groups 7; all heads of a benchmark"),
    "noise marked the wrong way round": (lambda f: f.assign(is_noise=~f["is_noise"]), "the interval and the"),
    "an intervention of one head": (
        put("intervention", "mean"),
        "intervention .mean.; all heads of",
    ),
    "a head less": (lambda f: f.iloc[:-1], "drops of 3 heads on 'pairs', and of 4 on 'toy'"),
}


@pytest.mark.parametrize("case", DROPS)
def test_drops(run: tuple[str, dict[str, Any]], case: str) -> None:
    root, config = run
    edit, said = DROPS[case]
    with Changed(RunPaths(root).drops("zero"), schemas.DROPS, edit), pytest.raises(InputError, match=said):
        Run.read(config, root)


def test_a_baseline_prunes_nothing(run: tuple[str, dict[str, Any]]) -> None:
    root, config = run
    path = RunPaths(root).baseline("toy", "evaluation")
    said = "1 of 64 visual tokens are kept of sample 'toy-evaluation-0003'; the baseline prunes nothing"
    with (
        toy_benchmarks(),
        Changed(path, schemas.SCORES, put("kept_tokens", 1)),
        pytest.raises(InputError, match=said),
    ):
        read_evaluation(config, root)


SETTINGS: dict[str, Any] = {
    "rules": [3, {}, {"rounding": 3}, []],
    "model": ["x", 3, {"id": 3}, {"id": "\x1b[2J"}],
    "geometry": [[], {"layers": "x"}, {"heads": 0}],
    "token_score": [3, "l2"],
    "variant": [3, {}, {"method": None}],
    "protocol": [3, "", "\x1b[2J"],
    "device": [[3], 1],
    "threads": [0, 1.5, True],
    "statistics": [None, {}, {"confidence": 95, "resamples": 100}],
}


@pytest.mark.parametrize("key", SETTINGS)
def test_settings_are_not_believed(run: tuple[str, dict[str, Any]], key: str) -> None:
    """Whatever a file says of how it was made: one line, and none that steers a terminal."""
    root, config = run
    paths = RunPaths(root)
    for value in SETTINGS[key]:
        for path, schema in (
            (paths.baseline("toy", "evaluation"), schemas.SCORES),
            (paths.evaluation("toy", "divprune"), schemas.EVALUATION),
            (paths.drops("zero"), schemas.DROPS),
        ):
            if value is None and path != paths.drops("zero"):
                continue
            with (
                toy_benchmarks(),
                Changed(path, schema, **{key: value}),
                pytest.raises(InputError, match=f"settings.{key}") as caught,
            ):
                Run.read(config, root) if path == paths.drops("zero") else read_evaluation(config, root)
            assert str(caught.value).isprintable()


def test_what_is_untouched_is_read(run: tuple[str, dict[str, Any]]) -> None:
    root, config = run
    with toy_benchmarks():
        assert Run.read(config, root).stability.keys() == {"zero", "selection"}
        assert len(read_evaluation(config, root)) == 2


STABILITY: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "not a stability file"),
    "null": (None, "the file is None"),
    "no ablation": ({}, "'ablation' is missing"),
    "an ablation of nothing": ({"ablation": "zero", "stability": {}}, "'zero.heads' is missing"),
    "a name that is none": ({"ablation": "\x1b[2J", "stability": {}}, "ablation is"),
    "of another ablation": ({"ablation": "mean", "stability": None}, "says ablation 'mean'"),
}


@pytest.mark.parametrize("case", STABILITY)
def test_stability_files(tmp_path: Path, case: str) -> None:
    content, said = STABILITY[case]
    path = tmp_path / "stability.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=said) as caught:
        read_stability(str(path), "zero")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, "x", float("nan"), -1, [], {}])
def test_every_number_of_a_stability_file_that_is_shown(run: tuple[str, dict[str, Any]], value: Any) -> None:
    """Each leaf under what is shown is replaced in turn; none goes through."""
    path = Path(RunPaths(run[0]).stability("zero"))
    good = json.loads(path.read_text())
    refused = 0
    for keys in (
        ("null", "pooled", "spread"), ("null", "pooled", "p"), ("null", "benchmarks", "toy", "distance_q95"),
        ("null", "pooled", "explained_by_null"), ("split_half", "pooled", "curve"),
        ("head_null", "min_shift", "q025"), ("heads",), ("null", "benchmarks"), ("split_half",),
    ):  # fmt: skip
        raw = json.loads(json.dumps(good))
        part = raw["stability"]
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        other = path.with_name("other.json")
        other.write_text(json.dumps(raw))
        with pytest.raises(InputError):
            read_stability(str(other))
        refused += 1
    assert refused == 9
