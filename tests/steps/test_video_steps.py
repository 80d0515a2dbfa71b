"""A video benchmark through the steps of the workflow, from its rows and files to evaluated variants."""

from __future__ import annotations

import json
from pathlib import Path

import hub_rows
import pytest
import tiny_prompts
from runs import linked
from score_rows import same

from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import read_samples
from hawk.config.load import fill
from hawk.config.recipes import ablation_named
from hawk.core.errors import InputError
from hawk.core.files import read_table
from hawk.core.paths import RunPaths
from hawk.core.schemas import EVALUATION, SCORES
from hawk.core.video import decode_video
from hawk.inference import feature_store as features
from hawk.steps.encode_images import encode_images
from hawk.steps.evaluate_pruned import evaluate_pruned, open_session
from hawk.steps.kept_tokens import kept_tokens
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.score_samples import score_samples
from hawk.steps.session import Session, load_for
from hawk.tools import plan

BENCH, FRAMES = "videomme", 4
PROTOCOL = "lmms-eval"  # 16 new tokens; an untrained model uses all of the 2048 that VLMEvalKit gives


@pytest.fixture(scope="module", params=["qwen2_5_vl", "internvl"])
def run(request, tmp_path_factory):
    """Config and folder of a run, samples and features made."""
    folder = tmp_path_factory.mktemp("run")
    vlm = tiny_prompts.vlm(request.param)
    vlm.model.save_pretrained(folder / "model")
    vlm.processor.save_pretrained(folder / "model")
    rows = hub_rows.videomme()
    for number, name in enumerate(dict.fromkeys(row["videoID"] for row in rows)):
        hub_rows.clip(folder / "videos" / f"{name}.mp4", number, frames=6 + number, size=32)
    variants = [
        {"name": "hawk-uniform", "method": "hawk", "weights": "uniform"},
        {"name": "per-frame", "method": "hawk", "weights": "uniform", "budget": "per_image"},
        {"name": "visionzip", "method": "visionzip"},
        {"name": "random", "method": "random", "seeds": 2},
        {"name": "blind", "method": "blind"},
    ]
    config = fill(
        {
            "run": "video",
            "model": {"path": str(folder / "model"), "device": "cpu", "layers": 3, "heads": 4},
            "preprocessing": {"frames": FRAMES},
            "calibration": {"benchmarks": [BENCH], "samples": None, "holdout": "none"},
            "evaluation": {"benchmarks": [BENCH], "ratios": [0.5], "variants": variants},
            "generation": {"batch_size": 3, "protocol": PROTOCOL},
            "data": {
                BENCH: {
                    "path": str(hub_rows.write(BENCH, folder / "rows")),
                    "videos": str(folder / "videos"),
                }
            },
        },
        "test",
    )
    paths = RunPaths(folder / "outputs")
    for role in ("calibration", "evaluation"):
        prepare_samples(config, paths, role, BENCH)
        encode_images(config, paths, role, BENCH)
    return config, paths


def score(run, stored: bool, name: str, **options) -> list[dict]:
    config, paths = run
    output = f"{paths.root}/{name}-{stored}.parquet"
    config = {**config, "features": "stored" if stored else "recomputed"}
    session = Session.open(config, paths, BENCH, "calibration")
    score_samples(session, [(options.pop("what", "reference"), output)], **options)
    return read_table(output, SCORES).to_pylist()


def test_stored_recomputed_and_plain_generation_agree(run):
    config, paths = run
    rows = score(run, True, "baseline")
    assert same(rows, score(run, False, "baseline"))
    vlm = load_for(config, vision=True)
    bench = benchmark(BENCH, config["data"][BENCH])
    samples = read_samples(paths.samples("calibration", BENCH), "calibration", BENCH)
    for row, sample in zip(rows, samples, strict=True):
        clip = decode_video(sample.video["path"], FRAMES)
        text = vlm.processor.apply_chat_template(
            bench.messages(sample, PROTOCOL), tokenize=False, add_generation_prompt=True
        )
        settings = {"do_sample_frames": False, "video_metadata": [clip.metadata]}
        inputs = vlm.processor(text=[text], videos=[clip.frames], videos_kwargs=settings, return_tensors="pt")
        new = vlm.model.generate(**inputs, max_new_tokens=bench.max_new_tokens(PROTOCOL), do_sample=False)[
            0, inputs["input_ids"].shape[1] :
        ]
        assert row["prediction"] == vlm.processor.tokenizer.decode(new, skip_special_tokens=True)
        assert row["prompt_tokens"] == inputs["input_ids"].shape[1]
        assert row["kept_tokens"] == row["visual_tokens"] > 0
        logits = vlm.model(**inputs).logits[0, -1].log_softmax(-1)
        answer = vlm.processor.tokenizer(sample.references[0], add_special_tokens=False)["input_ids"][0]
        assert row["reference_logprob"] == pytest.approx(float(logits[answer]), abs=1e-4)
    assert len({row["reference_logprob"] for row in rows}) > 1  # one per video


@pytest.mark.parametrize(("intervention", "what"), [("zero", "L0H2"), ("selection", "L0H2")])
def test_ablated(run, intervention, what):
    config, paths = run
    recipe = {"name": intervention, "intervention": intervention}
    config = fill({**config, "ablation": {"recipes": [recipe]}, "weights": {"recipes": []}}, "test")
    run = config, paths
    options = {"ablation": ablation_named(config, intervention), "what": what}
    rows = score(run, True, intervention, **options)
    assert same(rows, score(run, False, intervention, **options))
    assert not same(rows, score(run, True, "baseline"))


def test_evaluated(run):
    """Every variant; one that looks into the tower runs it although features are stored."""
    config, paths = run
    found = {}
    for variant in config["evaluation"]["variants"]:
        name = variant["name"]
        for stored in (True, False):
            own = {**config, "features": "stored" if stored else "recomputed"}
            there = linked(paths, f"{paths.root}/{stored}")
            evaluate_pruned(open_session(own, there, BENCH, name), name)
            found[name, stored] = read_table(there.evaluation(BENCH, name), EVALUATION).to_pylist()
        assert same(found[name, True], found[name, False])
    for row in found["hawk-uniform", True]:
        assert row["kept_tokens"] == -(-row["visual_tokens"] // 2)
    assert all(row["kept_tokens"] == 0 for row in found["blind", True])
    assert not same(found["hawk-uniform", True], found["visionzip", True])


def test_samples_without_bytes_and_features_under_two_names(run):
    """Scoring reads no video: its samples carry paths, its features the hashes of files."""
    _, paths = run
    samples = read_samples(paths.samples("calibration", BENCH), "calibration", BENCH, images=False)
    assert all(sample.video["bytes"] is None for sample in samples)
    store = features.FeatureStore(paths.features("calibration", BENCH))
    names = {f"path:{sample.video['path']}" for sample in samples}
    assert set(store._names) == names
    assert {store._names[f"path:{s.video['path']}"] for s in samples} == {s.group_id for s in samples}
    for sample in samples:
        assert Path(sample.video["path"]).is_file()


def test_pictures_and_plan(run):
    config, paths = run
    for path in kept_tokens(config, paths):
        assert Path(path).stat().st_size > 1000
    timing = plan.measure(config, samples=2)
    assert timing.feature_bytes > 0


def test_broken_video_is_found_when_samples_are_prepared(run, tmp_path):
    config, _ = run
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in Path(config["data"][BENCH]["videos"]).iterdir():
        (videos / path.name).write_bytes(path.read_bytes()[:200])
    broken = json.loads(json.dumps(config))
    broken["data"][BENCH]["videos"] = str(videos)
    with pytest.raises(InputError, match=r"sample '.*', video: .*\.mp4: not a video"):
        prepare_samples(broken, RunPaths(tmp_path), "calibration", BENCH)
