"""The referee: what it refuses to compare, and its tests and intervals against literal computations."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from factories import Toy, make_config, toy_benchmarks, write_run
from literal_tables import Literal, cell, change

from hawk.analysis import statistics
from hawk.analysis.evaluation_files import majority
from hawk.analysis.resampling import JointGroups, rng_of
from hawk.analysis.score_files import SampleIndex
from hawk.benchmarks.base import Sample
from hawk.cli.tools import compare as compare_command
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.report import verdicts
from hawk.report.headline import Comparison, headline, sentences
from hawk.report.tables import hypotheses, read_controls, read_retention
from hawk.steps.make_tables import make_tables

BENCHMARKS = ["toy", "shared", "pairs"]


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with toy_benchmarks():
        yield


def written(folder: Path, benchmarks: list[str] = BENCHMARKS) -> tuple[str, dict[str, Any]]:
    config = make_config()
    config["evaluation"] = {**config["evaluation"], "benchmarks": benchmarks, "ratios": [0.8]}
    write_run(folder, config)
    return str(folder), config


def same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {"model": {"id": "other"}}, {"geometry": {"layers": 9}}, {"device": "cuda:0"}, {"batch_size": 9},
        {"preprocessing": {"max_pixels": 1}}, {"samples": "others"}, {"prompts": "others"},
        {"benchmark_version": 9}, {"holdout": "none"},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
@pytest.mark.parametrize("what", ["baseline", "variant"])
def test_files_made_otherwise_are_not_compared(tmp_path: Path, setting: dict[str, Any], what: str) -> None:
    root, config = written(tmp_path)
    paths = RunPaths(root)
    if what == "baseline":
        change(paths.baseline("toy", "evaluation"), same, schemas.SCORES, **setting)
    else:
        change(paths.evaluation("toy", "divprune"), same, **setting)
    with pytest.raises(InputError, match=rf"{next(iter(setting))} .* cannot be compared"):
        make_tables(config, root)


def test_files_of_one_variant_with_weights_of_other_numbers_are_not_compared(tmp_path: Path) -> None:
    """A weight file was replaced between two benchmarks: its name stayed, and so did the variant."""
    root, config = written(tmp_path)
    first, second = (RunPaths(root).evaluation(name, "hawk-zero") for name in BENCHMARKS[:2])
    change(first, same, weights={"source": "w.json", "sha256": "a"})
    make_tables(config, root)  # the others are of an earlier version, and do not tell
    change(second, same, weights={"source": "without-x", "sha256": "b"})
    make_tables(config, root)  # other weights by intention
    change(second, same, weights={"source": "w.json", "sha256": "b"})
    with pytest.raises(InputError, match="weights w.json 'b', but .* has 'a'.* cannot be compared"):
        make_tables(config, root)


def test_a_file_of_another_variant_or_other_images_is_refused(tmp_path: Path) -> None:
    root, config = written(tmp_path)
    path = RunPaths(root).evaluation("toy", "divprune")
    change(path, same, variant={"name": "divprune", "method": "random"})
    with pytest.raises(InputError, match=r"divprune.parquet: made by variant .*'random'.*the config has"):
        make_tables(config, root)

    def larger(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame["sample_id"] == "toy-evaluation-0003", ["visual_tokens", "prompt_tokens"]] = 256
        return frame

    change(path, larger, variant={"name": "divprune", "method": "divprune"})
    with pytest.raises(
        InputError, match=r"'toy-evaluation-0003' had 256 visual tokens .* 64 in the baseline"
    ):
        make_tables(config, root)


@pytest.mark.parametrize(("more", "refused"), [(1, True), (0, False), (-1, False)])
def test_downscale_may_keep_fewer_tokens_but_not_more(tmp_path: Path, more: int, refused: bool) -> None:
    root, config = written(tmp_path)
    for variant in config["evaluation"]["variants"]:
        if variant["name"] == "divprune":
            variant["method"] = "downscale"

    def other(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame["sample_id"] == "toy-evaluation-0003", "kept_tokens"] += more
        return frame

    change(RunPaths(root).evaluation("toy", "divprune"), other)
    if refused:
        with pytest.raises(InputError, match="'divprune' keeps"):
            make_tables(config, root)
    else:
        make_tables(config, root)


# --- numbers ----------------------------------------------------------------------------------------


def test_the_overall_p_is_the_share_of_swapped_images(tmp_path: Path) -> None:
    """Few images differ, so all patterns are enumerated; an image is swapped in all its benchmarks."""
    root, config = written(tmp_path)
    paths = RunPaths(root)
    # Images that differ; toy and shared show the same ones, and have two of these in common.
    wrong = {"toy": [0, 5, 11, 3], "shared": [5, 11, 2], "pairs": [0, 1, 7]}
    rows: dict[str, dict[str, pd.DataFrame]] = {}
    for name in BENCHMARKS:
        literal = Literal(root, config, name)
        base = literal.rows("baseline", "")["score"].to_numpy()
        reference = np.where(np.arange(64) % 2 == 0, base, 0.0)
        ours = reference.copy()
        for image in wrong[name]:  # of its two samples one gets worse, or in pairs one better
            ours[2 * image + (name == "pairs")] = float(name == "pairs")
        for variant, score in (("hawk-uniform", reference), ("hawk-zero", ours)):

            def put(frame: pd.DataFrame, score: np.ndarray = score) -> pd.DataFrame:
                frame["score"], frame["parsed"] = score, "said"
                return frame

            change(paths.evaluation(name, variant), put)
        rows[name] = {v: literal.rows(v, "0.8") for v in ("hawk-uniform", "hawk-zero")}
    make_tables(config, root)
    frame, _ = read_retention(root)
    images = sorted(
        {rows[name]["hawk-zero"]["group_id"].iloc[2 * i] for name in BENCHMARKS for i in wrong[name]}
    )
    assert len(images) == 8

    def statistic(swapped: set[str]) -> float:
        parts = []
        for name in BENCHMARKS:
            literal = Literal(root, config, name)
            ours, reference = (rows[name][v].copy() for v in ("hawk-zero", "hawk-uniform"))
            turn = ours["group_id"].isin(swapped).to_numpy()
            a, b = ours["score"].to_numpy(), reference["score"].to_numpy()
            ours["score"], reference["score"] = np.where(turn, b, a), np.where(turn, a, b)
            gap = literal.bench.aggregate(ours) - literal.bench.aggregate(reference)
            parts.append(100 * gap / literal.bench.aggregate(literal.rows("baseline", "")))
        return float(np.mean(parts))

    observed = abs(statistic(set()))
    patterns = itertools.chain.from_iterable(
        itertools.combinations(images, n) for n in range(len(images) + 1)
    )
    reached = [abs(statistic(set(pattern))) > observed - 1e-9 for pattern in patterns]
    assert len(reached) == 256
    row = cell(frame, "hawk-zero", "0.8", "overall")
    assert abs(row["difference"]) == pytest.approx(observed)
    assert row["p_value"] == pytest.approx(np.mean(reached))
    assert 0.01 < row["p_value"] < 0.99


def test_intervals_and_ranges_of_variants_with_seeds(tmp_path: Path) -> None:
    root, config = written(tmp_path)
    make_tables(config, root)
    frame, _ = read_retention(root)
    literals = {name: Literal(root, config, name) for name in BENCHMARKS}
    by_seed = {
        name: [
            100
            * one.bench.aggregate(one.rows("random", "0.8", seed))
            / one.bench.aggregate(one.rows("baseline", ""))
            for seed in range(3)
        ]
        for name, one in literals.items()
    }
    overall = cell(frame, "random", "0.8", "overall")
    means = np.mean(list(by_seed.values()), axis=0)
    assert [overall["seed_low"], overall["seed_high"]] == pytest.approx([means.min(), means.max()])
    assert len(set(np.round(means, 6))) == 3

    groups = [sorted(set(one.samples["group_id"])) for one in literals.values()]
    # Overall of two benchmarks with the same images, which are drawn together.
    config["evaluation"]["benchmarks"] = ["toy", "shared"]
    make_tables(config, root)
    row = cell(read_retention(root)[0], "random", "0.8", "overall")
    joint = JointGroups([np.array(one) for one in groups[:2]])
    drawn = joint.counts(config["statistics"]["resamples"], rng_of(0, "retention"))
    lines = []
    for counts, own, name in zip(drawn, groups, ["toy", "shared"], strict=False):
        one = literals[name]
        base = one.rows("baseline", "")
        parts = [one.rows("random", "0.8", seed) for seed in range(3)]
        found = []
        for line in counts:
            weight = base["group_id"].map(dict(zip(own, line, strict=True))).to_numpy()
            values = [float((part["score"] * weight).sum()) for part in (*parts, base)]
            found.append(100 * np.mean(values[:3]) / values[3])
        lines.append(found)
    expected = np.percentile(np.mean(lines, axis=0), [2.5, 97.5])
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(expected.tolist())


class Lenient(Toy):
    """Where "maybe" is always nearly right: the best constant answer is not the most frequent one."""

    name: ClassVar[str] = "lenient"

    def score(self, parsed: str, sample: Sample, protocol: str) -> float:
        return 0.9 if parsed == "maybe" else float(parsed in sample.references)


def test_majority_is_the_best_constant_answer_and_not_the_most_frequent(tmp_path: Path) -> None:
    path = str(tmp_path / "samples.parquet")
    blank = {"split": "test", "images": [], "video": None, "question": "?", "options": [], "category": "a"}
    answers = ["yes"] * 6 + ["no"] * 5 + ["maybe"]
    rows = [
        {"sample_id": f"{i}", "group_id": f"{i}", "metric_group": f"{i}", "references": [answer], **blank}
        for i, answer in enumerate(answers)
    ]
    identity = {"role": "evaluation", "benchmark": "lenient"}
    files.write_table(path, rows, schemas.SAMPLES, provenance(identity))
    scored, answer = majority(SampleIndex.read(path, Lenient(), identity), "vlmevalkit")
    assert answer == "maybe"
    assert scored.scores.tolist() == [[0.9] * 12]


def test_one_benchmark_is_one_hypothesis_per_variant_and_ratio(tmp_path: Path) -> None:
    root, config = written(tmp_path, ["toy"])
    make_tables(config, root)
    frame, _ = read_retention(root)
    own, overall = (
        frame[(frame["benchmark"] == name) & frame["p_value"].notna()] for name in ("toy", "overall")
    )
    assert len(own) == hypotheses(frame) == len(config["evaluation"]["variants"]) - 1
    np.testing.assert_allclose(own["p_adjusted"], statistics.holm(own["p_value"]))
    for key in ("p_value", "p_adjusted", "verdict", "difference"):
        assert own[key].tolist() == overall[key].tolist()
    assert (own["p_adjusted"] > own["p_value"]).any()


def test_where_the_baseline_is_zero_nothing_is_tested_or_claimed(tmp_path: Path) -> None:
    root, config = written(tmp_path)

    def nothing(frame: pd.DataFrame) -> pd.DataFrame:
        frame["score"] = 0.0
        return frame

    change(RunPaths(root).baseline("toy", "evaluation"), nothing, schemas.SCORES)
    make_tables(config, root)
    frame, settings = read_retention(root)
    undefined = frame[frame["benchmark"].isin(["toy", "overall"])]
    assert undefined["p_adjusted"].isna().all()
    assert undefined["verdict"].isna().all()
    tested = frame[frame["p_value"].notna()]
    assert set(tested["benchmark"]) == {"shared", "pairs"}
    np.testing.assert_allclose(tested["p_adjusted"], statistics.holm(tested["p_value"]))
    compared = Comparison.of(frame, read_controls(root), settings)
    said = [headline(compared), *sentences(compared, ["hawk-zero"])]
    said += verdicts.of_the_comparison(config, None, frame)
    text = "\n".join(one.text for one in said)
    assert "scores 0 on toy" in text
    assert not re.search(r"\b(beats?|better|best)\b", text, re.IGNORECASE)
    assert "nan" not in text


# --- several runs -------------------------------------------------------------------------------------


@pytest.fixture
def two_models(tmp_path: Path) -> tuple[list[str], dict[str, Any]]:
    """Two models asked the same questions about the same images, answering them otherwise."""
    _, config = written(tmp_path / "one")
    for seed, name in enumerate(("one", "two")):
        write_run(tmp_path / name, config, seed=seed)
    return [str(tmp_path / name) for name in ("one", "two")], config


def test_several_models_are_blocks_and_their_images_the_units(two_models, tmp_path: Path) -> None:
    """Means of each run's own table; p by literal swaps of an image in both models at once."""
    roots, config = two_models
    single = []
    for root in roots:
        make_tables(config, root)
        single.append(read_retention(root)[0])
    make_tables(config, str(tmp_path / "both"), roots)
    both, settings = read_retention(str(tmp_path / "both"))
    assert list(settings["runs"]) == roots
    for key in ("retention", "difference", "native_value", "kept_tokens", "wins"):
        np.testing.assert_allclose(both[key], (single[0][key] + single[1][key]) / 2, equal_nan=True)
    assert both["samples"].equals(single[0]["samples"])  # another model adds no sample
    assert both["groups"].equals(single[0]["groups"])
    one = both[(both["variant"] == "divprune") & (both["benchmark"] == "toy")].iloc[0]
    own = [frame[(frame["variant"] == "divprune") & (frame["benchmark"] == "toy")] for frame in single]
    values = [float(frame["retention"].iloc[0]) for frame in own]
    assert (one["seeds"], one["seed_low"], one["seed_high"]) == (2, min(values), max(values))

    shares = {name: np.zeros(32) for name in roots}
    for root in roots:
        paths = RunPaths(root)
        groups = pd.read_parquet(paths.samples("evaluation", "toy"))["group_id"].rank(method="dense") - 1
        base = pd.read_parquet(paths.baseline("toy", "evaluation"))["score"].sum()
        for variant, sign in (("divprune", 1), ("hawk-uniform", -1)):
            scores = pd.read_parquet(paths.evaluation("toy", variant))["score"]
            np.add.at(shares[root], groups.astype(int), sign * 100 * scores / base / 2)
    total = sum(shares.values())
    assert one["difference"] == pytest.approx(total.sum())
    signs = np.random.default_rng(7).choice([-1.0, 1.0], size=(40_000, 32))
    expected = (np.abs(signs @ total) >= abs(total.sum()) - 1e-9).mean()
    assert one["p_value"] == pytest.approx(expected, abs=0.012)


def test_a_copy_of_a_model_makes_nothing_more_certain(tmp_path: Path) -> None:
    root, config = written(tmp_path / "one")
    shutil.copytree(root, tmp_path / "copy")
    make_tables(config, root)
    single, _ = read_retention(root)
    make_tables(config, str(tmp_path / "both"), [root, str(tmp_path / "copy")])
    both, _ = read_retention(str(tmp_path / "both"))
    for key in ("p_value", "ci_low", "ci_high", "difference_low", "difference_high"):
        np.testing.assert_allclose(both[key], single[key], equal_nan=True)
    # Control: were the copy's images others, twice as many swaps would be drawn, and p be smaller.
    paths = RunPaths(root)
    groups = pd.read_parquet(paths.samples("evaluation", "toy"))["group_id"].rank(method="dense") - 1
    scores = [
        pd.read_parquet(paths.evaluation("toy", variant)).query("seed == 0")["score"].to_numpy()
        for variant in ("hawk-zero", "hawk-uniform")
    ]
    share = np.bincount(groups.astype(int), weights=scores[0] - scores[1])
    row = single[(single["variant"] == "hawk-zero") & (single["benchmark"] == "toy")].iloc[0]

    def p_of(shares: np.ndarray) -> float:
        signs = np.random.default_rng(7).choice([-1.0, 1.0], size=(40_000, len(shares)))
        return float((np.abs(signs @ shares) >= abs(shares.sum()) - 1e-9).mean())

    assert p_of(share) == pytest.approx(row["p_value"], abs=0.012)
    assert p_of(np.tile(share, 2)) < row["p_value"] / 2


def test_runs_of_other_images_or_rules_are_refused(two_models, tmp_path: Path) -> None:
    roots, config = two_models
    path = RunPaths(roots[1]).samples("evaluation", "toy")
    table = files.read_table(path, schemas.SAMPLES)
    made, frame = files.provenance_of(table, path), table.to_pandas()
    frame["group_id"] = frame["group_id"].to_numpy()[::-1]
    files.write_table(path, frame, schemas.SAMPLES, made)
    with pytest.raises(InputError, match="two/samples/evaluation/toy.parquet: the samples show other images"):
        make_tables(config, str(tmp_path / "both"), roots)
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    "other",
    [{"scoring": {"layer": 1, "rope": True}}, {"rules": {"position_policy": "rebase"}}],
    ids=lambda other: next(iter(other)),
)
def test_runs_pruned_under_other_settings_are_refused(
    two_models, tmp_path: Path, other: dict[str, Any]
) -> None:
    """No config that a run was made with is at hand: its files tell."""
    roots, config = two_models
    (key,) = other
    rules = {"rounding": "ceil", "budget": "pooled", "position_policy": "keep"}
    for root in roots:
        paths = RunPaths(root)
        for benchmark in config["evaluation"]["benchmarks"]:
            tables = {paths.baseline(benchmark, "evaluation"): schemas.SCORES}
            for variant in config["evaluation"]["variants"]:
                tables[paths.evaluation(benchmark, variant["name"])] = schemas.EVALUATION
            for path, schema in tables.items():
                table = files.read_table(path, schema)
                made = files.provenance_of(table, path)
                made["settings"] |= {"rules": rules}
                if root == roots[1]:
                    made["settings"] |= {key: {**made["settings"][key], **other[key]}}
                files.write_table(path, table.to_pandas(), schema, made)
    for root in roots:
        make_tables(config, root)
    with pytest.raises(InputError, match=f"two/.*: {key} .*, but .*one/"):
        make_tables(config, str(tmp_path / "both"), roots)
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one", "two"], "several --run-dir need it"),
        (["one", "--output", "both"], "several --run-dir need it, and only they"),
        (["one", "two", "--output", ""], "--output: '' is no folder"),  # it was the first run's
        (["one", "./one", "--output", "both"], "a folder is given twice among one, ./one"),
    ],
)
def test_the_command_needs_a_place_for_several_runs(
    two_models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [
        word for one in words for word in ((one,) if one in ("--output", "both", "") else ("--run-dir", one))
    ]
    with pytest.raises(InputError, match=said):
        CliRunner().invoke(compare_command, ["--config", "{}", *given], catch_exceptions=False)


def test_the_command_compares_several_runs(two_models, tmp_path: Path, monkeypatch) -> None:
    roots, config = two_models
    monkeypatch.setattr("hawk.config.load.load_config", lambda source: config)
    given = [word for root in roots for word in ("--run-dir", root)]
    words = ["--config", "any", *given, "--output", str(tmp_path / "both")]
    done = CliRunner().invoke(compare_command, words, catch_exceptions=False)
    assert "divprune" in done.output
    assert (tmp_path / "both" / "figures" / "retention.svg").is_file()
    assert not (tmp_path / "one" / "tables").exists()
