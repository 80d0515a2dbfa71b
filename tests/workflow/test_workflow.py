"""The workflow as a user runs it: whole, again, after a loss, with another config."""

from __future__ import annotations

import os
import shutil
import sys
from copy import deepcopy
from pathlib import Path

import pytest
from conftest import EMBEDDED
from PIL import Image
from running import SMALL, Workflow

from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry

# The trained model: an untrained one answers nothing, and weights of equal drops are refused.
TRAINED = {
    **SMALL,
    "model": {"path": "model", "device": "cpu", "layers": 4, "heads": 8},
    "ablation": {"recipes": [{"name": "zero", "intervention": "zero"}]},
    "calibration": {"benchmarks": ["easy_vqa", "digits"], "samples": 24},
}
HEADS, BENCHMARKS = 8, 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    folder = tmp_path_factory.mktemp("finished")
    model = shutil.copytree(EMBEDDED, folder / "own_model")  # whose times a test changes
    workflow = Workflow(folder, model, TRAINED)
    workflow.run()
    return workflow


def test_one_job_per_head_benchmark_and_ablation(tmp_path: Path, small_model: Path) -> None:
    jobs = Workflow(tmp_path / "new", small_model).planned()  # 2 heads, 2 ablations
    assert jobs["ablate_head"] == 2 * BENCHMARKS * 2
    assert jobs["score_reference"] == jobs["repeat_reference"] == BENCHMARKS * 2
    assert jobs["evaluate_pruned"] == BENCHMARKS * len(SMALL["evaluation"]["variants"])


def test_the_embedded_internvl_is_trained_after_the_qwen_of_its_seed(
    tmp_path: Path, small_model: Path
) -> None:
    workflow = Workflow(tmp_path / "trained", small_model)
    assert workflow.planned("outputs/trained/seed3/tiny-qwen2.5-vl") == {"train_tiny": 1}
    assert workflow.planned("outputs/trained/seed3/tiny-internvl3") == {"train_tiny": 2}


def test_a_whole_run_makes_what_it_promises(finished: Workflow) -> None:
    root = finished.folder / "outputs" / "small"
    for path in (
        "drops/zero.parquet", "stability/zero.json", "head_weights/zero/pooled.json",
        "tables/retention.md", "figures/heatmap-zero.png", "figures/kept_tokens.png", "report.html",
    ):  # fmt: skip
        assert (root / path).stat().st_size > 0, path
    assert not list(root.rglob("*.tmp"))
    assert not list(root.rglob("*.lock"))
    for log in (root / "logs").rglob("*.log"):
        last = log.read_text().strip().splitlines()[-1]
        assert "wrote " in last, f"{log} does not end in its result: {last}"


def test_a_second_run_does_nothing(finished: Workflow) -> None:
    assert finished.planned() == {}


def test_another_name_of_the_same_python_runs_nothing_again(
    finished: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path was among the jobs' params: starting Snakemake another way made every finished job stale."""
    folder = Path(sys.executable).parent
    names = {"python", "python3", f"python3.{sys.version_info.minor}"} - {Path(sys.executable).name}
    others = [folder / name for name in sorted(names) if (folder / name).is_file()]
    assert others, "a venv has several names of its python"
    for other in others:
        monkeypatch.setattr(finished, "python", str(other), raising=False)
        assert finished.planned() == {}, other


@pytest.mark.parametrize(
    "path", ["tables/retention.csv", "tables", "drops/zero.parquet", "head_weights", "report.html"]
)
def test_what_is_lost_comes_back(finished: Workflow, path: str) -> None:
    """Results are asked for by name. Samples and features are not: they may go once nothing needs them."""
    root = finished.folder / "outputs/small"
    aside = (root / path).rename(finished.folder / "lost")
    try:
        planned = finished.planned()
    finally:
        aside.rename(root / path)
    makers = {
        "tables": "make_tables",
        "drops": "head_drops",
        "head_weights": "head_weights",
        "report": "make_report",
    }
    assert planned[makers[path.split("/")[0].split(".")[0]]] >= 1


def test_a_replaced_model_runs_its_jobs_again(finished: Workflow) -> None:
    weights = (finished.folder / "model" / "model.safetensors").resolve()
    before = weights.stat()
    os.utime(weights, (before.st_atime, before.st_mtime + 60))
    try:
        planned = finished.planned()
    finally:
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert planned["encode_images"] >= 1
    assert planned["score_reference"] >= 1
    assert "prepare_samples" not in planned  # samples need no model
    assert finished.planned() == {}


@pytest.mark.parametrize("edited", ["own.csv", "own.yaml"])
def test_an_edited_table_or_definition_of_a_benchmark_makes_its_samples_anew(
    edited: str, tmp_path: Path, small_model: Path
) -> None:
    config = deepcopy(SMALL)
    config["data"] = {"own": {"definition": "own.yaml"}}
    config["calibration"]["benchmarks"] = ["digits", "own"]
    workflow = Workflow(tmp_path / "run", small_model, config)
    rows = "".join(f"question {i},yes,{i}.png\n" for i in range(8))
    (workflow.folder / "own.csv").write_text(f"q,a,i\n{rows}")
    (workflow.folder / "own.yaml").write_text(
        "file: own.csv\ncolumns: {question: q, answer: a, image: i}\nprompt: '{question}'\n"
    )
    for i in range(8):
        Image.new("RGB", (56, 56), (30 * i, 0, 0)).save(workflow.folder / f"{i}.png")
    samples = "outputs/small/samples/calibration/own.parquet"
    workflow.run(samples)
    assert workflow.planned(samples) == {}
    file = workflow.folder / edited
    file.write_text(file.read_text().replace("question 1", "query 1").replace("'{", "'Look: {"))
    assert workflow.planned(samples)["prepare_samples"] == 1


def test_a_lost_head_is_scored_again_with_what_depends_on_it_and_nothing_else(finished: Workflow) -> None:
    lost = finished.folder / "outputs/small/scores/digits/zero/L0H1.parquet"
    aside = lost.rename(finished.folder / "aside.parquet")  # keeps its time, for the tests after
    try:
        jobs = finished.planned()
    finally:
        aside.rename(lost)
    assert jobs.pop("ablate_head") == 1
    assert set(jobs) <= {
        "all", "head_drops", "head_weights", "evaluate_pruned", "make_tables", "make_figures",
        "kept_tokens", "make_report",
    }  # fmt: skip
    assert jobs["head_drops"] == 1
    assert jobs["evaluate_pruned"] == BENCHMARKS  # only the variant that uses the run's weights


def test_evaluation_settings_rerun_no_ablation(finished: Workflow) -> None:
    changes = {
        "samples": {"samples": 6},
        "ratios": {"ratios": [0.9]},
        "benchmarks": {"benchmarks": ["digits"]},
        "variants": {"variants": [*SMALL["evaluation"]["variants"], {"name": "grid", "method": "grid"}]},
    }
    try:
        for name, change in changes.items():
            config = deepcopy(TRAINED)
            config["evaluation"].update(change)
            finished.configure(config)
            jobs = finished.planned()
            calibration = {"ablate_head", "score_reference", "repeat_reference", "head_drops"}
            assert jobs, f"{name}: a changed evaluation must re-run something"
            assert not calibration & set(jobs), name
        assert jobs["evaluate_pruned"] == BENCHMARKS  # the new variant alone
        config = deepcopy(TRAINED)
        config["calibration"]["samples"] = 6
        finished.configure(config)
        assert finished.planned()["ablate_head"] == HEADS * BENCHMARKS
    finally:
        finished.configure(TRAINED)


def test_another_recipe_runs_its_own_jobs_and_no_other(finished: Workflow) -> None:
    """An ablation, weights of it and other weights of an old one; and a variant that uses them."""
    config = deepcopy(TRAINED)
    config["ablation"]["recipes"] = [
        *TRAINED["ablation"]["recipes"], {"name": "alone", "intervention": "keep_only", "ratio": 0.9},
    ]  # fmt: skip
    try:
        finished.configure(config)
        jobs = finished.planned()
        own = {"score_reference": 2, "repeat_reference": 2, "ablate_head": HEADS * BENCHMARKS}
        shown = {"make_figures": 1, "make_report": 1, "all": 1}
        # Its weights are made because nothing else was asked for in weights.recipes.
        assert jobs == {**own, "head_drops": 1, "head_weights": 1, **shown}
        config["weights"] = {
            "recipes": [
                {"name": "zero", "ablation": "zero"},
                {"name": "signed", "ablation": "zero", "normalization": "signed"},
            ]
        }
        finished.configure(config)
        jobs = finished.planned()
        assert jobs == {**own, "head_drops": 1, "head_weights": 1, **shown}
        config["ablation"] = deepcopy(TRAINED["ablation"])
        config["evaluation"]["variants"].append({"name": "s", "method": "hawk", "weights": "signed"})
        finished.configure(config)
        jobs = finished.planned()
        assert jobs == {
            "head_weights": 1, "evaluate_pruned": BENCHMARKS, "make_tables": 1, "kept_tokens": 1, **shown,
        }  # fmt: skip
        config["ablation"]["recipes"][0]["layers"] = [0, 1]  # the heads of layer 0 are there
        config["weights"], config["evaluation"] = {}, TRAINED["evaluation"]
        finished.configure(config)
        assert finished.planned()["ablate_head"] == HEADS * BENCHMARKS
    finally:
        finished.configure(TRAINED)


def test_weights_that_choose_their_layer_run_their_own_jobs_and_no_other(finished: Workflow) -> None:
    """They need the drops of every layer; measured cost waits for them, for no other weights."""
    config = deepcopy(TRAINED)
    named = ["layer0", "layer1"]
    config["ablation"]["recipes"] += [
        {"name": name, "intervention": "selection", "layer": layer} for layer, name in enumerate(named)
    ]
    zero, chosen = {"name": "zero", "ablation": "zero"}, {"name": "chosen", "ablation": named}
    config["weights"] = {"recipes": [zero]}
    own = {
        "score_reference": 4,
        "repeat_reference": 4,
        "ablate_head": 2 * HEADS * BENCHMARKS,
        "head_drops": 2,
    }
    shown = {"make_figures": 1, "make_report": 1, "all": 1}
    try:
        finished.configure(config)
        assert finished.planned() == {**own, **shown}
        config["weights"]["recipes"].append(chosen)
        finished.configure(config)
        assert finished.planned() == {**own, "head_weights": 1, **shown}
        assert finished.planned("outputs/small/head_weights/chosen/pooled.json") == {**own, "head_weights": 1}
        config["evaluation"]["variants"].append({"name": "c", "method": "hawk", "weights": "chosen"})
        finished.configure(config)
        compared = {"evaluate_pruned": BENCHMARKS, "make_tables": 1, "kept_tokens": 1}
        assert finished.planned() == {**own, "head_weights": 1, **compared, **shown}
        config["cost"]["variants"] = ["hawk-zero"]
        finished.configure(config)
        assert "head_weights" not in finished.planned("cost")
        config["cost"]["variants"] = ["hawk-zero", "c"]
        finished.configure(config)
        assert finished.planned("cost")["head_weights"] == 1
    finally:
        finished.configure(TRAINED)


def test_regrouping_heads_reruns_nothing(finished: Workflow) -> None:
    try:
        for heads_per_job in (2, "all"):
            config = deepcopy(TRAINED)
            config["ablation"]["heads_per_job"] = heads_per_job
            finished.configure(config)
            assert finished.planned() == {}
    finally:
        finished.configure(TRAINED)


def test_cost_is_measured_when_asked_for_and_then_reported(finished: Workflow) -> None:
    """By its target or by ``cost.measure``; no score depends on it; later reports show it."""
    root = finished.folder / "outputs/small"
    config = deepcopy(TRAINED)
    config["cost"]["measure"] = True
    finished.configure(config)
    try:
        jobs = finished.planned()
    finally:
        finished.configure(TRAINED)
    assert jobs == {
        name: 1 for name in ("all", "measure_cost", "make_cost_table", "make_figures", "make_report")
    }
    assert 'id="cost"' not in (root / "report.html").read_text()
    finished.run("cost")
    assert "| hawk-uniform | 0.8 | 13 |" in (root / "tables/cost.md").read_text()
    assert finished.planned() == {"all": 1, "make_figures": 1, "make_report": 1}
    finished.run()
    assert 'id="cost"' in (root / "report.html").read_text()
    assert (root / "figures/speedup.svg").is_file()
    assert finished.planned() == finished.planned("cost") == {}


def test_a_wrong_config_fails_before_any_job(finished: Workflow) -> None:
    config = deepcopy(TRAINED)
    config["evaluation"]["ratio"] = [0.5]
    finished.configure(config)
    try:
        text = finished.run("--dry-run", code=1)
    finally:
        finished.configure(TRAINED)
    assert "unknown key 'evaluation.ratio'. Did you mean 'ratios'?" in text


def test_another_config_file_is_not_merged_over_the_default(finished: Workflow) -> None:
    """The default config has 5 benchmarks and 10 variants; none of them may seep in."""
    assert {path.stem for path in (finished.folder / "outputs/small/samples/calibration").iterdir()} == {
        "easy_vqa", "digits",
    }  # fmt: skip


def test_a_failing_job_leaves_its_reason_and_no_output(tmp_path: Path, small_model: Path) -> None:
    workflow = Workflow(tmp_path / "failing", small_model)
    target = "outputs/small/samples/calibration/digits.parquet"
    workflow.run(target)
    samples = workflow.folder / target
    samples.write_bytes(samples.read_bytes()[:200])
    printed = workflow.run("outputs/small/features/calibration/digits.safetensors", code=1)
    assert "error: " in printed
    assert "digits.parquet: not a readable parquet file" in printed  # not in a log file alone
    log = workflow.folder / "outputs/small/logs/features/calibration/digits.log"
    assert "error: " in log.read_text().strip().splitlines()[-1]
    assert "digits.parquet: not a readable parquet file" in log.read_text()
    assert not (workflow.folder / "outputs/small/features/calibration/digits.safetensors").exists()


def dry_run(folder: Path, model: Path, config: dict, *words: str) -> str:
    return Workflow(folder, model, config).run("--dry-run", *words)


def test_a_weights_file_given_by_path_is_an_input(tmp_path: Path, small_model: Path) -> None:
    own = tmp_path / "own.json"
    HeadWeights.uniform(Geometry(layers=2, heads=2, kv_heads=1, head_dim=64)).save(own)
    config, scorer = deepcopy(SMALL), {"method": "hawk", "weights": str(own)}
    config["evaluation"]["variants"] += [
        {"name": "own", **scorer},
        {"name": "own-mmr", "method": "mmr", "scorer": scorer},
    ]
    targets = [
        f"outputs/small/evaluation/digits/{name}.parquet" for name in ("own", "own-mmr", "hawk-uniform")
    ]
    text = dry_run(tmp_path / "run", small_model, config, *targets)
    inputs = [line for line in text.splitlines() if line.strip().startswith("input: ")]
    assert sum(str(own) in line for line in inputs) == 2


@pytest.mark.parametrize(
    ("ablation", "figures"),
    [
        ({}, {"weights", "stability"}),
        ({"heads": [0]}, {"stability"}),
        ({"recipes": [{"name": "zero", "intervention": "zero", "layers": [1]}]}, set()),
    ],
)
def test_no_figure_is_promised_that_is_not_made(
    tmp_path: Path, small_model: Path, ablation: dict, figures: set[str]
) -> None:
    """``make_figures`` draws weights of all heads, and stability of heads of the scoring layer."""
    config = deepcopy(SMALL)
    config["ablation"] = ablation
    if ablation:
        config["evaluation"]["variants"] = config["evaluation"]["variants"][1:]  # without the run's weights
    text = dry_run(tmp_path / "run", small_model, config)
    assert "figures/heatmap-zero.png" in text
    for name in ("weights", "stability"):
        assert (f"figures/{name}.png" in text) is (name in figures), name
