"""Samples with videos and several images: encoded once, stored, and the same as through the processor."""

from __future__ import annotations

import io

import hub_rows
import numpy as np
import pytest
import tiny_prompts
import torch
from PIL import Image as Picture
from tiny_random import MODELS

from hawk.benchmarks import Benchmark, Sample
from hawk.core.errors import InputError
from hawk.core.provenance import provenance
from hawk.core.video import decode_video
from hawk.inference.encoding import Recomputed, encode
from hawk.inference.feature_store import FeatureStore, feature_writer
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import prepared, score_samples
from hawk.inference.visual_files import VisualFile, visual_files
from hawk.models import family_by_type
from hawk.pruning import pruner
from hawk.pruning.methods.random import Random
from hawk.pruning.prompt import prune

FAMILIES = [name for name in MODELS if family_by_type(name).takes_video]
FRAMES = 5  # odd: families that merge frames in twos repeat the last


class Ask(Benchmark):
    name = "ask"
    family = "ask"

    def load(self):
        return iter(())

    def messages(self, sample, protocol="vlmevalkit"):
        """Text on both sides; a sample with "before" shows its video before its images."""
        (message,) = super().messages(sample, protocol)
        content = message["content"]
        if sample.question.startswith("before"):
            content.sort(key=lambda part: ["video", "image", "text"].index(part["type"]))
        content.insert(0, {"type": "text", "text": "which one ? "})
        return [message]

    def max_new_tokens(self, protocol="vlmevalkit"):
        return 6


def png(seed, height=32, width=32):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    clips = [str(hub_rows.clip(folder / f"{n}.mp4", n, frames=9 + 4 * n, size=32)) for n in range(3)]
    by_path = [{"bytes": None, "path": clip} for clip in clips]
    inside = {"bytes": (folder / "0.mp4").read_bytes(), "path": None}
    ask = "is one red ?"
    return [
        Sample("video", "g", ask, ("yes",), video=by_path[0]),
        Sample("longer", "g", ask, ("yes",), video=by_path[1]),
        Sample("in the table", "g", ask, ("yes",), video=inside),
        Sample("image", "g", ask, ("yes",), (png(0),)),
        Sample("two images", "g", ask, ("yes",), (png(0), png(1, 32, 64))),
        Sample("both", "g", ask, ("yes",), (png(2),), by_path[2]),
        Sample("video first", "g", "before one ?", ("yes",), (png(3), png(4)), by_path[0]),
    ]


def store(vlm, samples, path):
    with feature_writer(path, provenance({"role": "evaluation"})) as add:
        for file in {f.key: f for s in samples for f in visual_files(vlm.family, s)}.values():
            add(file.key, encode(vlm, file, {"frames": FRAMES}))
    return FeatureStore(path)


def direct(vlm, samples):
    """The processor on the whole batch."""
    texts = [
        vlm.processor.apply_chat_template(Ask().messages(s), tokenize=False, add_generation_prompt=True)
        for s in samples
    ]
    call = {"text": texts, "padding": True, "return_tensors": "pt"}
    images = [[Picture.open(io.BytesIO(image["bytes"])) for image in s.images] for s in samples]
    if any(images):
        call["images"] = images if len(images) > 1 else [images[0]]
    clips = [decode_video(s.video["bytes"] or s.video["path"], FRAMES) for s in samples if s.video]
    if clips:
        call["videos"] = [clip.frames for clip in clips]
        metadata = [clip.metadata for clip in clips]
        call["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": metadata}
    return dict(vlm.processor(**call))


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_is_what_the_processor_and_the_model_make(family, samples, tmp_path):
    """Ids, positions, logits and answers of every sample; other frames or another order would differ."""
    vlm = tiny_prompts.vlm(family)
    prompts = Prompts(vlm, Ask(), samples, store(vlm, samples, tmp_path / "f.safetensors"), "vlmevalkit")
    rows = score_samples(prompts, 1)
    together = score_samples(prompts, len(samples))
    logits = []
    for i, sample in enumerate(samples):
        inputs, stored = direct(vlm, [sample]), prompts.inputs([i])
        assert inputs["input_ids"].tolist() == stored["input_ids"].tolist(), sample.sample_id
        both = [prune(Random(pruning_ratio=0.5), vlm.model, vlm.family, x, ["k"]) for x in (inputs, stored)]
        assert torch.equal(both[0].position_ids, both[1].position_ids)
        found = [vlm.model(**one.kwargs(), logits_to_keep=1).logits for one in both]
        torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)
        logits.append(found[0])
        out = vlm.model.generate(**inputs, max_new_tokens=6, do_sample=False)
        answer = out[0, inputs["input_ids"].shape[1] :]
        assert rows[i]["prediction"] == vlm.processor.tokenizer.decode(answer, skip_special_tokens=True)
        assert together[i]["prediction"] == rows[i]["prediction"]
        assert together[i]["reference_logprob"] == pytest.approx(rows[i]["reference_logprob"], abs=1e-4)
    # The comparison can fail: samples differ by their videos alone, and the same video is the same.
    assert (logits[0] - logits[1]).abs().max() > 0.05
    torch.testing.assert_close(logits[0], logits[2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_equals_stored(family, samples, tmp_path):
    vlm = tiny_prompts.vlm(family)
    stored = store(vlm, samples, tmp_path / "f.safetensors")
    fresh = Recomputed(vlm, samples, {"frames": FRAMES})
    other = Recomputed(vlm, samples, {"frames": FRAMES + 2})
    for sample in samples:
        for file in visual_files(vlm.family, sample):
            torch.testing.assert_close(fresh[file.key].features, stored[file.key].features)
            assert dict(fresh[file.key].meta) == dict(stored[file.key].meta)
            if file.modality == "video":
                assert other[file.key].tokens > fresh[file.key].tokens


def test_frames_and_their_times_of_qwen(samples, tmp_path):
    """9 frames at 4 a second, 5 of them taken: 3 steps of 2 · 9 / (5 · 4) seconds."""
    vlm = tiny_prompts.vlm("qwen2_5_vl")
    (file,) = visual_files(vlm.family, samples[0])
    item = encode(vlm, file, {"frames": 5})
    assert item.modality == "video"
    assert item.grid[0] == 3
    assert item.meta["second_per_grid"] == pytest.approx(2 * 9 / (5 * 4))
    assert encode(vlm, file, {"frames": 4}).grid[0] == 2
    assert encode(vlm, file, {}).grid[0] == 4  # 8 frames unless the config says
    small = encode(vlm, file, {"frames": 4, "min_pixels": 16 * 16, "max_pixels": 16 * 16})
    assert small.grid == (2, 2, 2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", ["pooled", "per_image"])
def test_budget_of_a_video(family, budget, samples):
    """Pooled: a fifth of all; per frame: a fifth of every frame, rounded up."""
    vlm = tiny_prompts.vlm(family)
    prompts = Prompts(vlm, Ask(), samples[:1], Recomputed(vlm, samples, {"frames": FRAMES}), "vlmevalkit")
    item = prompts.items(0)[0]
    frames = item.grid[0]
    one = pruner("hawk", pruning_ratio="0.8", budget=budget)
    (row,) = score_samples(prompts, 1, pruner=one)
    per_frame = item.tokens // frames
    if budget == "pooled":
        assert row["kept_tokens"] == -(-item.tokens // 5)
        return
    (kept,) = prepared(prompts, one, [0]).last.kept_index
    kept_of = torch.bincount(kept // per_frame, minlength=frames)
    assert (kept_of[: frames - 1] == -(-per_frame // 5)).all()
    assert row["kept_tokens"] >= frames * -(-per_frame // 5)


def test_an_image_of_several_is_not_tiled_by_llava_onevision(samples):
    vlm = tiny_prompts.vlm("llava_onevision")
    image = samples[4].images[1]
    alone, among = (encode(vlm, VisualFile.of(image, among_others=several), {}) for several in (False, True))
    assert alone.tokens > among.tokens == 17
    keys = {file.key for sample in samples[3:5] for file in visual_files(vlm.family, sample)}
    assert len(keys) == 3  # the first image of both samples is encoded in both ways
    other = tiny_prompts.vlm("internvl").family
    assert len({file.key for sample in samples[3:5] for file in visual_files(other, sample)}) == 2


def test_mistakes(samples, tmp_path):
    vlm = tiny_prompts.vlm("qwen2_5_vl")
    found = store(vlm, samples[:1], tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"no features for .*1\.mp4; encode"):
        Prompts(vlm, Ask(), samples[:2], found, "vlmevalkit")
    (tmp_path / "no.mp4").write_text("no video")
    file = VisualFile.of({"bytes": None, "path": str(tmp_path / "no.mp4")}, "video")
    with pytest.raises(InputError, match=r"no\.mp4: not a video"):
        encode(vlm, file, {})
    (file,) = visual_files(vlm.family, samples[0])
    with pytest.raises(InputError, match="downscale makes single images smaller"):
        encode(vlm, file, {}, pruner("downscale", pruning_ratio="0.5"))
