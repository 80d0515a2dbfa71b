"""Drops, head weights and stability on synthetic runs with known effects."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from factories import (
    SCORE,
    ablation,
    drops_of,
    make_config,
    measure_drops,
    stability_of,
    toy_benchmarks,
    weights,
    write_run,
)
from scipy import stats

from hawk.analysis.resampling import bootstrap_counts, rng_of
from hawk.analysis.score_files import benchmark_of
from hawk.analysis.stability import flipped_drops
from hawk.config.queries import subset_benchmarks
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.steps.head_drops import head_drops, measure
from hawk.steps.head_weights import head_weights


def made_weights(config: dict[str, Any], root: str, recipe: str, subset: str = "pooled") -> HeadWeights:
    head_weights(config, RunPaths(root), recipe, subset)
    return HeadWeights.load(RunPaths(root).head_weights(recipe, subset))


@pytest.fixture(scope="module", autouse=True)
def toys():
    with toy_benchmarks():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A run with drops; not to be changed."""
    root = str(tmp_path_factory.mktemp("run"))
    config = make_config(calibration={"benchmarks": ["toy", "shared", "pairs"], "samples": 64})
    config["statistics"] = {"resamples": 100, "confidence": 0.95, "repeats": 2}
    write_run(root, config)
    measure_drops(config, root)
    return root, config


@pytest.fixture
def copy(made: tuple[str, dict[str, Any]], tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """The same, to be broken."""
    shutil.copytree(made[0], tmp_path / "run")
    return str(tmp_path / "run"), json.loads(json.dumps(made[1]))


def change(path: str, edit, identity: dict[str, str] | None = None) -> None:
    """Rewrite a score table with edited rows, or with another identity."""
    table = pq.read_table(path)
    made = files.provenance_of(table, path)
    frame = edit(table.to_pandas())
    if identity:
        made["identity"].update(identity)
    files.write_table(path, frame, schemas.SCORES, made)


# --- drops ------------------------------------------------------------------------------------------


def joined(root: str, config: dict[str, Any], name: str, intervention: str, which: str) -> pd.DataFrame:
    """Scores joined with their samples, by plain pandas."""
    paths = RunPaths(root)
    scores = pd.read_parquet(paths.scores(name, intervention, which))
    samples = pd.read_parquet(paths.samples("calibration", name))
    return scores.merge(samples[["sample_id", "group_id", "metric_group", "category"]], on="sample_id")


@pytest.mark.parametrize("name", ["toy", "pairs"])
@pytest.mark.parametrize("intervention", ["zero", "selection"])
def test_drops_equal_a_literal_computation(made, name: str, intervention: str) -> None:
    root, config = made
    rows = drops_of(root)
    rows = rows[(rows["benchmark"] == name) & (rows["intervention"] == intervention)].set_index("head")
    reference = joined(root, config, name, intervention, "reference")
    bench = benchmark_of(config, name, RunPaths(root).scores(name, intervention, "reference"))
    assert list(rows.index) == [0, 1, 2, 3]
    for head in range(4):
        ablated = joined(root, config, name, intervention, f"L0H{head}")
        row = rows.loc[head]
        assert row["reference_value"] == pytest.approx(bench.aggregate(reference))
        assert row["ablated_value"] == pytest.approx(bench.aggregate(ablated))
        gap = bench.aggregate(reference) - bench.aggregate(ablated)
        assert row["drop"] == pytest.approx(100 * gap / bench.native_max)
        logprob = (reference["reference_logprob"] - ablated["reference_logprob"]).mean()
        assert row["logprob_drop"] == pytest.approx(logprob)
        margin = (reference["margin"] - ablated["margin"]).mean()
        assert row["margin_drop"] == pytest.approx(margin)
        assert row["margin_low"] <= row["margin_drop"] <= row["margin_high"]
        assert row["unparsed"] == ablated["parsed"].isna().sum()
        assert (row["samples"], row["groups"]) == (64, 32)


@pytest.mark.parametrize("name", ["toy", "pairs"])
def test_intervals_equal_literal_resamples_of_images(made, name: str) -> None:
    root, config = made
    reference, ablated = (joined(root, config, name, "zero", which) for which in ("reference", "L0H2"))
    bench = benchmark_of(config, name, RunPaths(root).scores(name, "zero", "reference"))
    groups = sorted(set(reference["group_id"]))
    counts = bootstrap_counts(len(groups), config["statistics"]["resamples"], rng_of(0, "drops", name))
    gaps = []
    for line in counts:
        values = []
        for frame in (reference, ablated):
            parts = []
            for time in range(int(line.max())):
                part = frame[frame["group_id"].map(dict(zip(groups, line > time, strict=True)))]
                parts.append(part.assign(metric_group=part["metric_group"] + f"#{time}"))
            values.append(bench.aggregate(pd.concat(parts)))
        gaps.append(100 * (values[0] - values[1]) / bench.native_max)
    row = drops_of(root).query("benchmark == @name and intervention == 'zero' and head == 2").iloc[0]
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(np.percentile(gaps, [2.5, 97.5]).tolist())


def test_noise_floor_counts_flips_of_the_repeats(made) -> None:
    root, _ = made
    paths = RunPaths(root)
    frame = drops_of(root)
    seen = set()
    for (name, intervention), part in frame.groupby(["benchmark", "intervention"]):
        scores = [
            pd.read_parquet(paths.scores(str(name), str(intervention), which))["score"]
            for which in ("reference", "repeat1", "repeat2")
        ]
        flips = ((scores[1] != scores[0]).sum() + (scores[2] != scores[0]).sum()) / 2
        expected = 100 * 1.96 * (flips / 64) ** 0.5 / 64**0.5
        assert part["noise_floor"].to_numpy() == pytest.approx(expected)
        seen.add(flips)
    assert len(seen) > 1  # not all zero
    noise = (frame["ci_low"] <= 0) & (frame["ci_high"] >= 0) | (frame["drop"].abs() <= frame["noise_floor"])
    assert (frame["is_noise"] == noise).all()
    assert 0 < noise.sum() < len(frame)


def test_known_effects_are_found(made) -> None:
    root, _ = made
    best = drops_of(root).sort_values("drop").groupby(["benchmark", "intervention"])["head"].last()
    assert set(best.xs("zero", level=1)) == {0}
    assert set(best.xs("selection", level=1)) == {3}


def test_each_intervention_is_measured_against_its_own_reference(copy) -> None:
    """Min-shift would hide a wrong reference, so the reference value itself is looked at."""
    root, config = copy
    paths = RunPaths(root)
    own = drops_of(root).query("benchmark == 'toy'").groupby("intervention")["reference_value"].first()
    for intervention in ("zero", "selection"):
        score = pd.read_parquet(paths.scores("toy", intervention, "reference"))["score"].mean()
        assert own[intervention] == pytest.approx(100 * score)
    assert own["zero"] != own["selection"]

    def all_wrong(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(score=0.0)

    change(paths.scores("toy", "selection", "reference"), all_wrong)
    before = drops_of(root)
    measure_drops(config, root)
    after = drops_of(root)
    moved = (before["drop"] != after["drop"]).to_numpy()
    expected = ((before["benchmark"] == "toy") & (before["intervention"] == "selection")).to_numpy()
    assert (moved == expected).all()


def test_the_same_input_gives_the_same_files(copy) -> None:
    root, config = copy
    paths = RunPaths(root)
    before = files.digest(paths.drops("zero")), stability_of(root, "zero")
    measure_drops(config, root)
    assert (files.digest(paths.drops("zero")), stability_of(root, "zero")) == before
    measure_drops({**config, "seed": 1}, root)
    assert files.digest(paths.drops("zero")) != before[0]


def test_weights_and_their_stability_are_of_one_layer_whatever_else_is_measured(tmp_path: Path) -> None:
    config = make_config()
    config["ablation"]["recipes"] = [ablation("zero", layers=[0, 1]), ablation("selection")]
    write_run(tmp_path, config)
    measure_drops(config, tmp_path)
    layers = drops_of(str(tmp_path)).groupby("intervention")["layer"].agg(set)
    assert layers["zero"] == {0, 1}
    assert layers["selection"] == {0}
    assert stability_of(tmp_path, "zero")["heads"] == ["L0H0", "L0H1", "L0H2", "L0H3"]
    config["ablation"]["recipes"][0]["layer"] = 1
    measure_drops(config, tmp_path)
    assert stability_of(tmp_path, "zero")["heads"] == ["L1H0", "L1H1", "L1H2", "L1H3"]
    assert made_weights(config, str(tmp_path), "zero").layer == 1
    config["ablation"]["recipes"][0]["layers"] = [0]
    measure_drops(config, tmp_path)  # for a heatmap alone
    assert stability_of(tmp_path, "zero") is None


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda f: f.iloc[::-1], "another order"),
        (lambda f: f.iloc[:-1], "63 rows for 64 samples; 1 missing, the first 'toy-calibration-0063'"),
        (lambda f: f.assign(sample_id=["new", *f["sample_id"][1:]]), "1 unknown, the first 'new'"),
        (lambda f: f.assign(score=1.5), r"score 1.5; scores lie in \[0, 1\]"),
        (lambda f: f.assign(score=float("nan")), "score nan"),
    ],
)
def test_scores_of_other_samples_are_refused(copy, edit, said: str) -> None:
    root, config = copy
    path = RunPaths(root).scores("toy", "zero", "L0H2")
    change(path, edit)
    with pytest.raises(InputError, match=said) as error:
        measure_drops(config, root)
    assert path in str(error.value)


@pytest.mark.parametrize(
    "identity", [{"head": "L0H1"}, {"benchmark": "pairs"}, {"ablation": "mean"}, {"role": "evaluation"}]
)
def test_a_file_that_contradicts_its_path_is_refused(copy, identity: dict[str, str]) -> None:
    root, config = copy
    path = RunPaths(root).scores("toy", "zero", "L0H2")
    change(path, lambda frame: frame, identity)
    key, value = next(iter(identity.items()))
    with pytest.raises(InputError, match=f"{key} '{value}', its path says") as error:
        measure_drops(config, root)
    assert path in str(error.value)


def test_missing_and_broken_files_are_named(copy) -> None:
    root, config = copy
    path = Path(RunPaths(root).scores("toy", "zero", "L0H2"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"L0H2.parquet: not a readable parquet"):
        measure_drops(config, root)
    path.unlink()
    with pytest.raises(InputError, match=r"L0H2.parquet: there is no such file"):
        measure_drops(config, root)


def remade(path: str, **settings: Any) -> None:
    table = pq.read_table(path)
    made = files.provenance_of(table, path)
    made["settings"].update(settings)
    files.write_table(path, table.to_pandas(), schemas.SCORES, made)


@pytest.mark.parametrize(
    "setting",
    [
        {"protocol": "lmms-eval"},
        {"model": {"id": "data/models/toy", "dtype": "bfloat16"}},
        {"device": "cuda:1"},
        {"batch_size": 77},
        {"rows_per_batch": 4},
        {"preprocessing": {"max_pixels": 1}},
        {"prompts": "of other texts"},
        {"samples": "of other samples"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_a_head_scored_otherwise_than_its_reference_is_refused(copy, setting: dict[str, Any]) -> None:
    root, config = copy
    remade(RunPaths(root).scores("toy", "zero", "L0H2"), **setting)
    with pytest.raises(InputError, match=rf"L0H2.parquet: {next(iter(setting))} .* cannot be compared"):
        measure_drops(config, root)


def test_another_gpu_of_a_node_is_no_other_device_and_another_kind_is_told(
    copy, caplog: pytest.LogCaptureFixture
) -> None:
    root, config = copy
    expected = drops_of(root)
    folder = Path(RunPaths(root).scores("toy", "zero", "reference")).parent
    for number, path in enumerate(sorted(folder.glob("*.parquet"))):
        kind = "H100" if path.stem == "L0H2" else "A100"
        remade(str(path), device=f"cuda:{number % 2}", hardware=kind)
    measure_drops(config, root)
    assert "toy, zero: scored on A100, H100" in caplog.text
    assert drops_of(root).equals(expected)


def test_nothing_is_written_by_a_step_that_fails(copy) -> None:
    root, config = copy
    paths = RunPaths(root)
    Path(paths.drops("selection")).unlink()
    Path(paths.stability("selection")).unlink()
    Path(paths.scores("pairs", "selection", "L0H3")).unlink()
    with pytest.raises(InputError):
        measure_drops(config, root)
    assert not Path(paths.drops("selection")).exists()
    assert not Path(paths.stability("selection")).exists()


# --- weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("intervention", ["zero", "selection"])
def test_weights_are_the_formula_of_the_paper(copy, intervention: str) -> None:
    root, config = copy
    loaded = made_weights(config, root, intervention)
    table = drops_of(root).query("intervention == @intervention")
    drops = table.pivot(index="head", columns="benchmark", values="drop")
    shifted = drops - drops.min()
    expected = (shifted / shifted.sum()).mean(axis=1)
    assert loaded.weights == pytest.approx(expected.tolist())
    assert sum(loaded.weights) == pytest.approx(1.0)
    assert loaded.per_benchmark["pairs"] == pytest.approx((shifted / shifted.sum())["pairs"].tolist())
    assert (loaded.layer, loaded.intervention) == (0, intervention)
    assert (loaded.geometry.heads, loaded.geometry.kv_heads, loaded.geometry.head_dim) == (4, 2, 8)
    assert loaded.model == {"id": "data/models/toy", "revision": None, "family": "toy_vl"}
    assert loaded.token_score == SCORE
    assert loaded.samples == {"toy": 64, "shared": 64, "pairs": 64}


def test_selection_scored_with_another_token_score_is_refused(copy) -> None:
    root, config = copy
    config["ablation"]["recipes"][1]["normalization"] = "softmax"
    with pytest.raises(InputError, match="made with token_score .*'l2'.* the config has .*softmax"):
        head_weights(config, RunPaths(root), "selection")


def test_calibration_groups_are_the_set_of_images(copy) -> None:
    root, config = copy
    loaded = made_weights(config, root, "zero", "without-pairs")
    groups = sorted({f"toy-calibration-{i:04d}" for i in range(32)})  # shared has the same images
    assert loaded.calibration_groups == hashlib.sha256("\n".join(groups).encode()).hexdigest()
    pooled = made_weights(config, root, "zero")
    assert pooled.calibration_groups != loaded.calibration_groups


def test_a_subset_leaves_out_a_whole_family(copy) -> None:
    root, config = copy
    assert subset_benchmarks(config, "without-toys") == ["pairs"]
    left = made_weights(config, root, "zero", "without-toys")
    assert list(left.samples) == list(left.per_benchmark) == ["pairs"]
    assert left.weights == pytest.approx(left.per_benchmark["pairs"])
    with pytest.raises(InputError, match="unknown subset of calibration benchmarks 'without-toy'"):
        subset_benchmarks(config, "without-toy")
    config["calibration"]["benchmarks"] = ["toy", "shared"]
    with pytest.raises(InputError, match="none is left"):
        subset_benchmarks(config, "without-toys")


def test_positive_significant_weights_follow_the_intervals(copy) -> None:
    root, config = copy
    config["weights"]["recipes"] = [weights("zero", normalization="positive_significant")]
    loaded = made_weights(config, root, "zero")
    table = drops_of(root).query("intervention == 'zero' and benchmark == 'toy'").sort_values("head")
    kept = np.where(table["ci_low"] > 0, table["drop"], 0.0)
    assert loaded.per_benchmark["toy"] == pytest.approx((kept / kept.sum()).tolist())
    assert loaded.weight_normalization == "positive_significant"


def test_weights_need_every_head_of_the_scoring_layer(tmp_path: Path) -> None:
    config = make_config()
    config["ablation"] = {**config["ablation"], "heads": [0, 2], "recipes": [ablation("zero")]}
    write_run(tmp_path, config)
    measure_drops(config, tmp_path)
    with pytest.raises(InputError, match=r"missing \[1, 3\]"):
        head_weights(config, RunPaths(str(tmp_path)), "zero")
    assert not (tmp_path / "head_weights").exists()
    with pytest.raises(InputError, match="unknown weights recipe 'mean'"):
        head_weights(config, RunPaths(str(tmp_path)), "mean")


def test_all_drops_equal_leaves_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_config()
    config["ablation"] = {**config["ablation"], "recipes": [ablation("zero")]}
    write_run(tmp_path, config)
    paths = RunPaths(tmp_path)
    for name in config["calibration"]["benchmarks"]:
        reference = pd.read_parquet(paths.scores(name, "zero", "reference"))
        for head in range(4):
            change(paths.scores(name, "zero", f"L0H{head}"), lambda frame, same=reference: same)
    measure_drops(config, tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match="same drop"):
        head_weights(config, RunPaths(str(tmp_path)), "zero")
    assert "toy" in caplog.text
    assert not (tmp_path / "head_weights").exists()
    found = stability_of(tmp_path, "zero")
    assert found["null"]["pooled"]["explained_by_null"]
    assert found["split_half"]["pooled"]["full"] == 0.0


# --- stability --------------------------------------------------------------------------------------


def test_flipped_drops_are_literal_swaps(made) -> None:
    root, config = made
    rng = np.random.default_rng(0)
    for name in ("toy", "pairs"):
        part = measure(config, RunPaths(root), name, ablation("zero"))
        signs = rng.choice([-1.0, 1.0], size=(5, 32))
        found = flipped_drops(part, signs)
        for line, drops in zip(signs, found, strict=True):
            swap = (line < 0)[:, None]
            for head in range(4):
                kept = np.where(swap, part.ablated[head], part.reference_run).sum(axis=0)
                lost = np.where(swap, part.reference_run, part.ablated[head]).sum(axis=0)
                gap = part.samples.benchmark.value(kept) - part.samples.benchmark.value(lost)
                assert drops[head] == pytest.approx(100 * gap / part.samples.benchmark.native_max)


def write_noise_run(root: Path, seed: int, effect: float = 0.0) -> dict[str, Any]:
    config = make_config()
    config["model"] = {**config["model"], "heads": 12}
    config["ablation"] = {**config["ablation"], "recipes": [ablation("zero")]}
    config["calibration"] = {"benchmarks": ["toy"], "samples": 256}
    config["evaluation"] = {**config["evaluation"], "benchmarks": []}
    write_run(root, config, {"zero": [effect] * 2 + [0.0] * 10}, seed)
    return config


def test_the_null_explains_noise_but_not_heads_that_matter(tmp_path: Path) -> None:
    flagged = {0.0: 0, 0.3: 0}
    for effect in flagged:
        for seed in range(6):
            root = tmp_path / f"{effect}-{seed}"
            measure_drops(write_noise_run(root, seed, effect), root)
            found = stability_of(root, "zero")
            flagged[effect] += found["null"]["benchmarks"]["toy"]["explained_by_null"]
            null = found["head_null"]["min_shift"]
            assert sum(null["mean"]) == pytest.approx(1.0)
            assert all(np.array(null["q025"]) <= null["mean"])
            assert all(np.array(null["mean"]) <= null["q975"])
    assert flagged[0.0] >= 5
    assert flagged[0.3] == 0


def test_heads_that_alone_change_anything_are_not_taken_for_noise(tmp_path: Path) -> None:
    """In float32 ablating a useless head changes nothing at all: all noise is that of useful heads."""
    config = write_noise_run(tmp_path, 0)
    paths = RunPaths(tmp_path)
    reference = pd.read_parquet(paths.scores("toy", "zero", "reference"))
    rng = np.random.default_rng(0)
    for head in range(12):
        lost = rng.random(256) < {3: 0.2, 7: 0.2}.get(head, 0.0)
        right = np.where(lost, 0.0, reference["score"])
        change(
            paths.scores("toy", "zero", f"L0H{head}"),
            lambda frame, right=right: frame.assign(score=right, parsed="said"),
        )
    measure_drops(config, tmp_path)
    found = stability_of(tmp_path, "zero")
    one = found["null"]["benchmarks"]["toy"]
    assert not one["explained_by_null"]
    assert one["distance_p"] > 0.05  # why the distance cannot decide it
    drops = drops_of(str(tmp_path))["drop"]
    assert one["spread"] == pytest.approx((drops - drops.mean()).abs().mean())
    assert found["null"]["pooled"]["spread"] == pytest.approx(one["spread"])


def test_more_samples_rank_real_effects_more_reliably(tmp_path: Path) -> None:
    config = make_config()
    config["ablation"] = {**config["ablation"], "recipes": [ablation("zero")]}
    config["calibration"] = {"benchmarks": ["toy", "shared"], "samples": 512}
    config["evaluation"] = {**config["evaluation"], "benchmarks": []}
    write_run(tmp_path, config, {"zero": [0.05, 0.15, 0.3, 0.5]})
    measure_drops(config, tmp_path)
    found = stability_of(tmp_path, "zero")
    curve = found["split_half"]["benchmarks"]["toy"]["curve"]
    assert [point["samples"] for point in curve] == [32, 64, 128, 256]
    assert curve[0]["correlation"] < curve[-1]["correlation"]
    assert curve[-1]["correlation"] > 0.9
    assert found["split_half"]["pooled"]["full"] > 0.9
    between = found["between_benchmarks"]
    assert [(one["first"], one["second"]) for one in between] == [("toy", "shared")]
    drops = drops_of(str(tmp_path)).pivot(index="head", columns="benchmark", values="drop")
    expected = stats.spearmanr(drops["toy"], drops["shared"]).statistic
    assert between[0]["spearman"] == pytest.approx(expected)


def test_every_key_of_the_stability_file_is_explained(made) -> None:
    found = json.loads(Path(RunPaths(made[0]).stability("zero")).read_text())
    zero = found["stability"]
    keys = {"null", "head_null", "split_half"} | set(zero["null"]["pooled"])
    keys |= set(zero["split_half"]["pooled"]) | {"spearman", "samples"}
    assert keys <= set(found["keys"])


def test_samples_without_a_margin_are_left_out_of_its_drop(copy) -> None:
    """Against plain pandas over the others; counted as 0 they would pull it towards 0."""
    root, config = copy
    paths, names = RunPaths(root), ["reference", "repeat1", *(f"L0H{head}" for head in range(4))]
    for which in names:
        change(
            paths.scores("toy", "zero", which),
            lambda frame: frame.assign(margin=frame["margin"].where(frame.index % 3 > 0)),
        )
    head_drops(config, paths, "zero")
    rows = drops_of(root).query("benchmark == 'toy' and ablation == 'zero'").set_index("head")
    before, after = (pd.read_parquet(paths.scores("toy", "zero", name)) for name in ("reference", "L0H0"))
    gap = before["margin"] - after["margin"]
    assert rows.loc[0, "margin_drop"] == pytest.approx(gap.dropna().mean())
    assert rows.loc[0, "margin_drop"] != pytest.approx(gap.fillna(0.0).mean())
    change(paths.scores("toy", "zero", "L0H1"), lambda frame: frame.assign(margin=1.0))
    with pytest.raises(InputError, match="L0H1.*margin is there for other samples than in .*reference"):
        head_drops(config, paths, "zero")


def test_weights_by_margin_need_a_margin(copy) -> None:
    root, config = copy
    paths, names = RunPaths(root), ["reference", "repeat1", *(f"L0H{head}" for head in range(4))]
    recipe = {**config["weights"]["recipes"][0], "name": "wide", "measure": "margin"}
    config["weights"]["recipes"] = [recipe]
    head_weights(config, paths, "wide")
    for which in names:
        change(paths.scores("toy", recipe["ablation"], which), lambda frame: frame.assign(margin=np.nan))
    head_drops(config, paths, recipe["ablation"])
    with pytest.raises(InputError, match="'toy' has no margin_drop, which measure: margin .* needs"):
        head_weights(config, paths, "wide")
