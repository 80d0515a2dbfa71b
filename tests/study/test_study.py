"""The study: its variants can be built, its images are apart, its choice is frozen, its tests are right."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from hawk.analysis.resampling import Pairing, linear_sign_flips, sign_flip_pvalues
from hawk.benchmarks import benchmark
from hawk.benchmarks import samples as sampling
from hawk.config.load import fill
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.core.paths import RunPaths
from hawk.study import calibrate, choose, develop, family, findings, images, plan
from hawk.study.retained import Retained

GEOMETRY = Geometry(layers=4, heads=8, kv_heads=4, head_dim=16)
CONFIG = Path(__file__).parents[2] / "config" / "study.yaml"
NAMES = ["easy_vqa", "digits"]


class Model:
    """What calibration and the building of pruners ask of a model."""

    geometry = GEOMETRY
    source = {"id": "m", "revision": None}

    class family:  # noqa: N801
        name = "qwen2_5_vl"


class Bench:
    family = "easy_vqa"  # what "*" becomes in a weight file's name


@pytest.fixture
def config():
    made = fill(yaml.safe_load(CONFIG.read_text(encoding="utf-8")), str(CONFIG))
    made["calibration"]["benchmarks"] = made["evaluation"]["benchmarks"] = NAMES
    made["statistics"]["resamples"] = 200
    return made


@pytest.fixture
def weights(config, tmp_path):
    """Weight files of every setting, from made-up drops of two families of benchmarks."""
    files = RunPaths(str(tmp_path))
    rng = np.random.default_rng(0)
    found = {
        name: {
            "drops": rng.normal(size=8),
            "low": rng.normal(size=8) - 1,
            "logprob": rng.normal(size=8),
            "samples": np.array(10),
        }
        for name in NAMES
    }
    for one in (plan.ZERO, *(setting.name for setting in plan.SETTINGS)):
        calibrate.write_weights(config, Model, files, one, found)
    return files, found


# --- variants and weights -----------------------------------------------------------------------------


def test_every_variant_can_be_built(config, weights):
    files, _ = weights
    candidates, others = plan.candidates(files), plan.others(files)
    names = [variant["name"] for variant in [*candidates, *others]]
    assert len(set(names)) == len(names)
    assert set(plan.OPPONENTS) <= {one["name"] for one in others}
    lefts = [plan.left_out(one) for one in candidates]
    for variant in [*candidates, *others, *lefts]:
        pruner = develop.pruner_of(config, Model, variant, Bench, "0.8", 0)
        assert variant["method"] == "blind" or pruner.count(64) == 13
        if variant["name"] == "sel-max":
            assert pruner.text_reduction == "max"
            assert pruner.weights.weights == HeadWeights.load(files.head_weights("max-min_shift")).weights


def test_a_left_out_variant_has_the_weights_without_the_benchmarks_family(config, weights):
    files, found = weights
    by_name = {one["name"]: one for one in plan.candidates(files)}
    own = develop.pruner_of(config, Model, plan.left_out(by_name["cover-sel"]), Bench, "0.8", 0)
    expected = HeadWeights.load(files.head_weights("base-min_shift", "without-easy_vqa"))
    assert own.scorer.weights.weights == expected.weights
    assert set(expected.samples) == {"digits"}
    pooled = HeadWeights.load(files.head_weights("base-min_shift"))
    assert set(pooled.samples) == set(found)
    assert pooled.weights != expected.weights


def test_signed_weights_are_scaled_drops(weights):
    files, found = weights
    signed = json.loads(Path(files.head_weights("base-signed")).read_text())["signed"]
    expected = np.mean([one["drops"] / np.abs(one["drops"]).sum() for one in found.values()], 0)
    np.testing.assert_allclose(signed, expected)
    assert min(signed) < 0 < max(signed)
    assert calibrate.signed_weights({"a": np.zeros(3)}, 3) == [1.0] * 3


def test_only_the_settings_that_variants_read_are_needed(weights):
    files, _ = weights
    by_name = {one["name"]: one for one in [*plan.candidates(files), *plan.others(files)]}
    assert plan.settings_needed(files, [by_name["divprune"], by_name["hawk-uniform"]]) == []
    assert plan.settings_needed(files, [by_name["hawk-zero"], by_name["cover-sel-attention"]]) == [
        plan.ZERO,
        "attention",
    ]
    assert plan.settings_needed(files, [plan.left_out(by_name["sel-signed"])]) == ["base"]


def test_drops_are_in_points_and_their_bounds_are_over_images(config):
    from hawk.study.forced import Forced

    rng = np.random.default_rng(1)

    def scored(score):
        score = np.asarray(score, dtype=float)
        return Forced(score, rng.normal(size=len(score)), np.zeros(len(score)))

    reference, ablated = scored([1, 1, 1, 0]), [scored([0, 1, 1, 0]), scored([1, 1, 1, 1])]
    found = calibrate.drops(reference, ablated, ["a", "b", "c", "d"], config, "digits")
    assert found["drops"].tolist() == [25, -25]
    assert found["reference"] == 75
    assert found["low"][0] == 0  # one of four images: a resample without it has no drop
    all_one = calibrate.drops(reference, ablated, ["a"] * 4, config, "digits")
    assert all_one["low"].tolist() == [25, -25]  # a single image: every resample is the sample


# --- images -------------------------------------------------------------------------------------------


def test_evaluation_images_are_fresh(config, monkeypatch):
    monkeypatch.setattr("hawk.benchmarks.scenes.SCENES", 60)
    config["evaluation"]["samples"] = config["calibration"]["samples"] = 20
    for name in NAMES:
        bench = benchmark(name)
        ordinary = list(bench.load())
        _, chosen = images.chosen_samples(config, name, "evaluation")
        groups = {one.group_id for one in chosen}
        demo = sampling.draw(
            bench, [one for one in ordinary if sampling.role_of(one.group_id, 0) == "evaluation"], 256, 0
        )
        assert groups
        assert not groups & {one.group_id for one in demo}
        if name == "digits":  # scenes that no run has ever drawn
            assert not groups & {one.group_id for one in ordinary}
        _, development = images.chosen_samples(config, name, "development")
        assert not groups & {one.group_id for one in development}
        assert {one.group_id for one in development} <= {one.group_id for one in ordinary}


def test_an_image_in_two_roles_is_refused(tmp_path):
    from hawk.core.files import write_table
    from hawk.core.provenance import provenance
    from hawk.core.schemas import SAMPLES

    files = RunPaths(str(tmp_path))

    def write(role, name, group):
        row = {key: None for key in SAMPLES.names} | {"sample_id": "0", "group_id": group}
        block = provenance({"role": role, "benchmark": name})
        write_table(files.samples(role, name), [row], SAMPLES, block)

    write("calibration", "digits", "a")
    write("development", "digits", "b")
    images.refuse_shared(files, "development")
    write("development", "shapes", "a")  # of another benchmark: still the same image
    with pytest.raises(InputError, match="serve both 'development' and 'calibration'"):
        images.refuse_shared(files, "development")


# --- scoring ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompts(embedded, tmp_path_factory):
    """A dozen questions of one benchmark, for the embedded model."""
    made = fill(yaml.safe_load(CONFIG.read_text(encoding="utf-8")), str(CONFIG))
    made["calibration"]["samples"] = 12
    files = RunPaths(str(tmp_path_factory.mktemp("study")))
    images.prepare(made, embedded, files, "development", ["easy_vqa"])
    return images.prompts_of(made, embedded, files, "development", "easy_vqa")


@pytest.mark.parametrize("method", ["none", "hawk", "fastv", "blind", "zero"])
def test_teacher_forcing_scores_what_generation_scores(prompts, method):
    from hawk.ablation.ablate_heads import AblateHeads
    from hawk.core.heads import Head
    from hawk.inference.scoring import score_samples
    from hawk.pruning import pruner
    from hawk.study.forced import ForcedScorer

    asked, bench = prompts
    given = None if method in ("none", "zero") else pruner(method, pruning_ratio="0.9")
    heads = [Head(0, i) for i in range(4)]

    def ablation():
        return AblateHeads(heads, mode="zero").attach(asked.vlm.model) if method == "zero" else None

    rows = score_samples(asked, 5, pruner=given, ablation=ablation())
    found = ForcedScorer(asked, bench, 7)(given, ablation())
    assert found.score.tolist() == [row["score"] for row in rows]
    np.testing.assert_allclose(found.logprob, [row["reference_logprob"] for row in rows], atol=1e-4)
    assert found.kept.tolist() == [row["kept_tokens"] for row in rows]
    if method == "blind":
        assert 0 < found.score.sum() < 12  # both outcomes occur


def test_remembered_token_scores_change_nothing(prompts):
    from hawk.pruning import pruner
    from hawk.study.forced import ForcedScorer, remembering

    asked, bench = prompts
    scorer = ForcedScorer(asked, bench, 12)
    one_head = HeadWeights((1.0, *[0.0] * 7), asked.vlm.geometry)
    other = HeadWeights((*[0.0] * 7, 1.0), asked.vlm.geometry)
    kept = {}
    for name, options in {
        "first": {"weights": one_head},
        "other": {"weights": other},
        "max": {"weights": one_head, "text_reduction": "max"},
    }.items():
        given = pruner("hawk", pruning_ratio="0.9", **options)
        again = remembering(given, scorer.memo)
        for used in (given, again):
            scorer_of = ForcedScorer(asked, bench, 12) if used is given else scorer
            scorer_of(used)
            kept.setdefault(name, []).append(_kept(used, asked))
        assert kept[name][0] == kept[name][1]
    assert kept["first"][0] != kept["other"][0] != kept["max"][0]
    assert len(scorer.memo) == 2 * 12  # per question one entry for each reduction, none per weights


def _kept(given, asked):
    from hawk.pruning.prompt import prune

    keys = [f"easy_vqa:{sample.sample_id}" for sample in asked.samples]
    prompt = prune(given, asked.vlm.model, asked.vlm.family, asked.inputs(range(12)), keys)
    return [index.tolist() for index in prompt.last.kept_index]


# --- the choice ---------------------------------------------------------------------------------------


def made_up(better: str = "sel-max", models: tuple[str, ...] = ("m0", "m1")) -> Retained:
    """Two models on 40 images of two benchmarks; every variant like ``sel``, one better."""
    rng = np.random.default_rng(4)
    every = [one["name"] for one in [*plan.candidates(choose._ANYWHERE), *plan.others(choose._ANYWHERE)]]
    every += [name + plan.LEFT_OUT for name in ("sel", better)]
    base = {model: [np.ones(40), np.ones(40)] for model in models}
    plain = {model: [(rng.random(40) < 0.5).astype(float) for _ in range(2)] for model in models}
    good = [np.ones(40), np.ones(40)]
    cells = {
        model: {(name, r): good if name == better else plain[model] for name in every for r in RATIOS}
        for model in models
    }
    groups = [np.array([f"{i:02d}" for i in range(40)]), np.array([f"{i:02d}" for i in range(20, 60)])]
    return Retained(NAMES, groups, [40, 40], base, cells)


RATIOS = ("0.6", "0.8", "0.9")


def test_the_best_of_each_kind_is_chosen_and_never_again(config, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "read_development", lambda *_: made_up())
    chosen = choose.choose(config, {}, tmp_path, {"m0": {}, "m1": {}})
    assert chosen == ["sel-max", "mmr-sel"]  # equal ones: the first of the plan
    rows = json.loads((tmp_path / "development.json").read_text())["rows"]
    best = next(row for row in rows if row["variant"] == "sel-max")
    assert best["retention"] == {"0.8": 100, "0.9": 100}
    assert best["difference_interval"][0] > 0
    equal = next(row for row in rows if row["variant"] == "sel-at-0.6")
    assert equal["difference"] == 0
    with pytest.raises(InputError, match="not made again"):
        choose.choose(config, {}, tmp_path, {})


def test_controls_and_rivals_cannot_be_chosen(config, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "read_development", lambda *_: made_up("divprune"))
    assert choose.choose(config, {}, tmp_path, {}) == ["sel", "mmr-sel"]


def test_a_choice_counts_only_when_committed_and_unchanged(config, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "read_development", lambda *_: made_up())
    choose.choose(config, {}, tmp_path, {})

    def git(*words):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    assert choose.read_choice(tmp_path) == ["sel-max", "mmr-sel"]  # in no checkout: said in the log
    git("init", "-q")
    with pytest.raises(InputError, match="commit this choice first"):
        choose.read_choice(tmp_path)
    git("add", "choice.json")
    git("commit", "-qm", "choice")
    assert choose.read_choice(tmp_path) == ["sel-max", "mmr-sel"]
    path = tmp_path / "choice.json"
    text = path.read_text()
    path.write_text(text + "\n")
    with pytest.raises(InputError, match="commit this choice first"):
        choose.read_choice(tmp_path)
    path.write_text(text.replace('"max"', '"mean"'))
    with pytest.raises(InputError, match="is not what"):
        choose.read_choice(tmp_path)


# --- tests --------------------------------------------------------------------------------------------


def test_linear_flips_are_the_sign_flip_test_of_a_mean():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, size=(2, 4, 12)).astype(float)
    second[3] = first[3]  # nothing differs

    def value(sums):
        return sums[..., 0]

    expected = [
        sign_flip_pvalues(
            [[(Pairing.of(a[None, :, None], b[None, :, None], value), np.arange(12))]], 12, 9, rng
        )
        for a, b in zip(first, second, strict=True)
    ]
    found = linear_sign_flips(first - second, 9, rng)
    assert found.tolist() == pytest.approx(np.concatenate(expected).tolist())
    assert found[3] == 1


def test_many_groups_take_random_flips():
    rng = np.random.default_rng(0)
    shares = np.stack([np.ones(40), rng.normal(size=40), np.r_[np.ones(14), np.zeros(26)]])
    found = linear_sign_flips(shares, 10_000, rng)
    assert found[0] == pytest.approx(1 / 10_001)
    assert found[2] == 2 / 2**14  # 14 groups differ: exact, whatever the number of flips
    exact = linear_sign_flips(shares[1:2, :14], 1, rng)[0]
    again = linear_sign_flips(np.tile(shares[1:2, :14], 1), 1, rng)[0]
    assert exact == again


def test_one_family_holds_all_scopes_and_says_better_by_holm_only(config):
    found = made_up("sel-max", ("q0", "q1", "i0"))
    identities = {"q0": {"family": "qwen"}, "q1": {"family": "qwen"}, "i0": {"family": "internvl"}}
    scopes = family.scopes(identities)
    assert [(one.name, one.whole) for one in scopes] == [
        ("q0", False),
        ("q1", False),
        ("qwen, mean of 2", True),
        ("i0", True),
    ]
    rows = family.compare_finals(config, found, ["sel-max", "sel"], identities)
    places = 2 * 1 + 2 * (1 + len(NAMES))
    assert len(rows) == places * 4 * len(plan.OPPONENTS) * 3
    for row in rows:
        assert row["verdict"] == ("better" if row["p_adjusted"] < 0.05 else "—")
        assert row["p_adjusted"] >= row["p"]
    overall = [row for row in rows if row["scope"] == "qwen, mean of 2" and row["benchmark"] == "overall"]
    assert {row["verdict"] for row in overall if row["variant"] == "sel-max"} == {"better"}
    assert {row["verdict"] for row in overall if row["variant"] == "sel"} == {"—"}  # no difference at all
    first = next(row for row in overall if row["variant"] == "sel-max")
    own = [found.overall(["q0", "q1"], (name, "0.6")) for name in ("sel-max", "divprune")]
    assert first["difference"] == pytest.approx(own[0] - own[1])
    assert first["interval"][0] < first["difference"] < first["interval"][1]


def test_an_image_of_two_benchmarks_is_flipped_once():
    found = made_up()
    share = found.difference(["m0"], ("sel-max", "0.8"), ("sel", "0.8"), [0, 1])
    assert len(share) == 60  # 40 + 40 images, 20 in both
    gaps = [1 - found.cells["m0"]["sel", "0.8"][b] for b in (0, 1)]
    assert share[20:40] == pytest.approx(100 / 40 / 2 * (gaps[0][20:] + gaps[1][:20]))


# --- the page -----------------------------------------------------------------------------------------


def test_tables_are_written_between_the_marks(config, tmp_path, monkeypatch):
    found = made_up("sel-max", ("q0", "q1"))
    identities = {"q0": {"family": "qwen"}, "q1": {"family": "qwen"}}
    monkeypatch.setattr(choose, "read_development", lambda *_: found)
    choose.choose(config, {}, tmp_path, {"q0": identities["q0"]})
    blocks = [f"<!-- study: {name} --><!-- end of {name} -->" for name in findings.BLOCKS]
    page = "# P\n" + "\nkept\n".join(blocks) + "\n"
    once = findings.update(page, tmp_path)
    assert "**`sel-max`**" in once
    assert "Not evaluated yet" in once
    result = {
        "models": identities,
        "chosen": ["sel-max", "sel"],
        "unpruned": {m: dict.fromkeys(NAMES, 100.0) for m in identities},
        "samples": dict.fromkeys(NAMES, 40),
        "images": 60,
        "retention": family.retention_rows(config, found, ["sel-max", "blind"], identities),
        "tests": family.compare_finals(config, found, ["sel-max", "sel"], identities),
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(result))
    twice = findings.update(once, tmp_path)
    assert "\nkept\n" in twice
    assert "Not evaluated yet" not in twice
    assert "Not among the models of the choice: q1." in twice
    assert "qwen, mean of 2, `sel-max`: better than `divprune` at 0.6, 0.8, 0.9" in twice
    assert "qwen, mean of 2, `sel`: not told apart from `divprune` at 0.6, 0.8, 0.9" in twice
    assert findings.update(twice, tmp_path) == twice
    with pytest.raises(InputError, match="no block"):
        findings.update("# nothing", tmp_path)


def test_models_are_named():
    from hawk.study.__main__ import _named

    assert _named(["a=x/y", "b=z"]) == {"a": "x/y", "b": "z"}
    for bad in (["a"], ["=x"], ["a="], ["a=x", "a=y"], ["a/b=x"]):
        with pytest.raises(Exception, match="NAME=FOLDER|twice"):
            _named(bad)


# --- all of it ----------------------------------------------------------------------------------------


@pytest.mark.long
def test_from_model_folders_to_the_page(tmp_path, monkeypatch):
    """Twice the same command with a choice between; then a model that comes later; then nothing to do."""
    from conftest import EMBEDDED

    from hawk.study.__main__ import STAGES, run

    raw = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    raw["calibration"].update(benchmarks=["easy_vqa", "shapes"], samples=6)
    raw["evaluation"].update(benchmarks=["easy_vqa", "shapes"], samples=6)
    raw["statistics"] = {"resamples": 100}
    source, page, record = tmp_path / "study.yaml", tmp_path / "findings.md", tmp_path / "record"
    source.write_text(yaml.safe_dump(raw))
    blocks = [f"<!-- study: {name} --><!-- end of {name} -->" for name in findings.BLOCKS]
    page.write_text("\n".join(blocks))
    given = (str(source), str(tmp_path / "out"), record, page, STAGES)

    run(*given, {"first": str(EMBEDDED)})
    assert json.loads((record / "choice.json").read_text())["models"].keys() == {"first"}
    assert not (record / "evaluation.json").exists()  # a choice first has to be committed
    choice = (record / "choice.json").read_bytes()
    run(*given, {"first": str(EMBEDDED)})
    assert (record / "choice.json").read_bytes() == choice
    assert "### first" in page.read_text()

    run(*given, {"first": str(EMBEDDED), "later": str(EMBEDDED)})
    made = json.loads((record / "evaluation.json").read_text())
    assert "qwen2_5_vl, mean of 2" in page.read_text()
    assert "Not among the models of the choice: later." in page.read_text()
    assert not Path(tmp_path, "out", "later", "development").exists()
    rows = [row for row in made["tests"] if row["benchmark"] == "overall"]
    by_scope = {scope: [r["difference"] for r in rows if r["scope"] == scope] for scope in ("first", "later")}
    assert by_scope["first"] == by_scope["later"]  # the same weights under another name

    monkeypatch.setattr("hawk.study.evaluate.score_samples", None)  # nothing is scored again
    monkeypatch.setattr("hawk.study.calibrate.ForcedScorer", None)
    run(*given, {"first": str(EMBEDDED), "later": str(EMBEDDED)})
    assert json.loads((record / "evaluation.json").read_text()) == made

    raw["evaluation"]["samples"] = 7
    source.write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError, match="other weights or other settings"):
        run(*given, {"first": str(EMBEDDED)})
