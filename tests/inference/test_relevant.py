"""From boxes to visual tokens, and the oracle that keeps them: by painting, and by what a model answers."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pytest
import tiny_prompts
import torch
from conftest import EMBEDDED, ROOT
from PIL import Image
from tiny_prompts import PROMPTS

import hawk
from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import check_files, checked, read_samples
from hawk.config.load import load_config
from hawk.core.errors import InputError
from hawk.core.files import read_table
from hawk.core.paths import RunPaths
from hawk.core.schemas import EVALUATION
from hawk.inference.encoding import encode
from hawk.inference.preprocessing import image_arguments, prepare_image
from hawk.inference.relevant import relevant_tokens
from hawk.inference.scoring import score_samples
from hawk.inference.visual_files import VisualFile
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.methods.oracle import Oracle
from hawk.pruning.methods.random import Random
from hawk.steps.encode_images import encode_images
from hawk.steps.evaluate_pruned import evaluate_pruned, open_session
from hawk.steps.kept_tokens import picture
from hawk.steps.prepare_samples import prepare_samples
from hawk.steps.session import Session

MODELS = [EMBEDDED, EMBEDDED.with_name("tiny-internvl3")]
BENCH = "digits_busy"


# --- boxes to tokens, against painting ----------------------------------------------------------------


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def painted_tokens(vlm, pixels: np.ndarray, box, preprocessing) -> set[int]:
    """The tokens whose own pixels change, by a half of the most, where the box is painted over.

    Read off what the processor gives: which pixels are a token's is known by family.
    """
    left, top, right, bottom = box
    other = pixels.copy()
    other[top:bottom, left:right] = 255
    values = []
    for content in (png(pixels), png(other)):
        image = prepare_image(vlm, content, preprocessing)
        text = vlm.processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}]}], tokenize=False
        )
        inputs = vlm.processor(
            text=[text], images=[[image]], return_tensors="pt", **image_arguments(vlm, preprocessing)
        )
        values.append(inputs["pixel_values"].float())
    change = (values[0] - values[1]).abs()
    name, config = vlm.family.name, vlm.model.config
    if name in ("internvl", "llava", "idefics3", "smolvlm"):  # squares of a tile, tile by tile
        change = change.flatten(0, -4)  # [tiles, 3, pixels, pixels]
        of_a_side = config.vision_config.image_size, config.vision_config.patch_size
        side = int(config.image_seq_length**0.5) if name == "internvl" else of_a_side[0] // of_a_side[1]
        side //= getattr(config, "scale_factor", 1)
        block = change.shape[-1] // side
        of_token = change.amax(1).unfold(1, block, block).unfold(2, block, block).amax((-1, -2)).flatten()
    elif name in ("llava_next", "llava_onevision"):  # the model's own packing; newlines get 0
        side = change.shape[-1] // config.vision_config.patch_size
        block = change.shape[-1] // side
        views = change[0].amax(1).unfold(1, block, block).unfold(2, block, block).amax((-1, -2)).flatten(1)
        (of_token,) = vlm.family.place_observed(vlm.model, inputs, [views])
    else:  # [patches, ...], the patches of one token behind each other
        of_token = change.amax(1).view(-1, vlm.processor.image_processor.merge_size**2).amax(1)
    return set((of_token > 0.5 * of_token.max()).nonzero().flatten().tolist())


# (width, height): other shapes, larger and smaller than what the processors make of them.
SIZES = [(150, 100), (90, 200), (64, 64), (211, 203)]


@pytest.mark.parametrize("padded", [False, True], ids=["", "padded"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("family", sorted(set(PROMPTS) - {"qwen2_vl"}))  # its images are Qwen2.5-VL's
def test_tokens_of_a_box_are_those_that_painting_it_changes(family, size, padded) -> None:
    vlm = tiny_prompts.vlm(family)
    width, height = size
    preprocessing = {"pad_to_square": padded}
    rng = np.random.default_rng(len(family))
    pixels = rng.integers(0, 20, (height, width, 3), dtype=np.uint8)
    content = png(pixels)
    item = encode(vlm, VisualFile.of({"bytes": content, "path": None}), preprocessing)
    shape = (max(size), max(size)) if padded else (height, width)
    if family == "llava" and not padded:  # the processor cuts out the middle square
        shape = (min(size), min(size))
    grids = vlm.family.layouts(vlm.model, vlm.processor, item, shape)
    rows, columns = max(one.rows for one in grids), max(one.columns for one in grids)
    differing = 0
    for _ in range(6):
        # Resizing smears an edge over a token's border, so edges lie in the middle of tokens.
        x0, x1 = middles(rng, width, shape[1], columns)
        y0, y1 = middles(rng, height, shape[0], rows)
        found, elsewhere = (
            set(relevant_tokens(vlm, content, item, [box], preprocessing).nonzero().flatten().tolist())
            for box in ((x0, y0, x1, y1), (width - x1, height - y1, width - x0, height - y0))
        )
        expected = painted_tokens(vlm, pixels, (x0, y0, x1, y1), preprocessing)
        if len(grids) > 1:  # of a thumbnail's tokens an edge may cover next to nothing
            assert found >= expected
            assert {*grids[1].tokens} & expected
            found, elsewhere, expected = (one & {*grids[0].tokens} for one in (found, elsewhere, expected))
        assert found == expected
        differing += elsewhere != expected
    assert differing  # the negative control: boxes turned by half


def test_what_a_processor_cuts_off_has_no_tokens() -> None:
    vlm = tiny_prompts.vlm("llava")
    content = png(np.zeros((40, 100, 3), dtype=np.uint8))
    file = VisualFile.of({"bytes": content, "path": None})
    item = encode(vlm, file, {})
    for padded in (False, True):
        shown = relevant_tokens(vlm, content, item, [(2, 0, 20, 40)], {"pad_to_square": padded})
        assert bool(shown.any()) == padded
        seen, layout, _ = picture(vlm, file, item, {"pad_to_square": padded})
        assert seen.size == ((100, 100) if padded else (40, 40))
        assert (layout.rows, layout.columns) == (4, 4)
    middle = relevant_tokens(vlm, content, item, [(0, 0, 35, 20)], {})  # up to 5 pixels into the square
    assert middle.nonzero().flatten().tolist() == [0, 4]


def middles(rng: np.random.Generator, own: int, side: int, cells: int) -> list[int]:
    """Two places on a side of ``own`` pixels, in the middle of tokens of the padded side."""
    places = [round((cell + 0.5) * side / cells) - (side - own) // 2 for cell in range(cells)]
    inside = [place for place in places if 0 <= place <= own]
    return sorted(rng.choice(inside, 2, replace=False).tolist())


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_boxes_of_the_scenes_and_of_easy_vqa_hold_their_object(folder: Path) -> None:
    """Exactly: an embedded model takes these images as they are. A cell has four tokens."""
    vlm = hawk.load(str(folder), device="cpu")
    digits = benchmark("digits_busy")
    for index in range(6):
        scene, question = digits.scene_and_question(index)
        (box,) = question.relevant
        content = png(scene.image)
        item = encode(vlm, VisualFile.of({"bytes": content, "path": None}), {})
        found = set(relevant_tokens(vlm, content, item, [box], {}).nonzero().flatten().tolist())
        assert found == painted_tokens(vlm, scene.image, box, {})
        assert len(found) == 4
        turned = (box[1], box[0], box[3], box[2])
        if turned != box:
            assert found != {*relevant_tokens(vlm, content, item, [turned], {}).nonzero().flatten().tolist()}
    for sample in [next(benchmark("easy_vqa").load())]:
        pixels = np.asarray(Image.open(io.BytesIO(sample.images[0]["bytes"])).convert("RGB")).astype(int)
        left, top, right, bottom = sample.relevant[0]
        background = np.median(pixels.reshape(-1, 3), axis=0)
        inside = np.zeros(pixels.shape[:2], bool)
        inside[top:bottom, left:right] = True
        assert abs(pixels[~inside] - background).max() <= 8
        assert (abs(pixels[inside] - background).max(axis=-1) > 40).mean() > 0.3


# --- the oracle ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Without(Pruner):
    """Everything but the object's tokens, or but as many others."""

    others: bool = False

    @property
    def inactive(self) -> bool:
        return False

    def kept_indices(self, context: PruningContext) -> torch.Tensor:
        relevant = context.relevant()
        if self.others:
            places = (~relevant).nonzero().flatten()
            order = torch.randperm(len(places), generator=context.generator(0))
            gone = places[order[: int(relevant.sum())]]
            relevant = torch.zeros_like(relevant)
            relevant[gone] = True
        return (~relevant).nonzero().flatten()


@pytest.fixture(scope="module", params=MODELS, ids=lambda folder: folder.name)
def run(request, tmp_path_factory) -> tuple[dict, RunPaths]:
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        config = load_config(ROOT / "config" / "config.yaml")
    finally:
        os.chdir(before)
    config["model"] = {**config["model"], "path": str(request.param), "device": "cpu"}
    config["evaluation"] = {**config["evaluation"], "samples": 48, "benchmarks": [BENCH]}
    config["evaluation"]["variants"] = [
        {"name": "oracle", "method": "oracle", "seeds": 2},
        {"name": "first", "method": "keep_first", "seeds": 2},
    ]
    config["generation"]["batch_size"] = 16
    paths = RunPaths(tmp_path_factory.mktemp("run"))
    prepare_samples(config, paths, "evaluation", BENCH)
    encode_images(config, paths, "evaluation", BENCH)
    return config, paths


def test_the_objects_tokens_alone_carry_the_answer(run) -> None:
    config, paths = run
    session = Session.open(config, paths, BENCH, "evaluation", pixels=True)

    def share(pruner: Pruner | None) -> float:
        return float(np.mean([row["score"] for row in score_samples(session.prompts, 16, pruner)]))

    assert share(None) >= 0.9
    assert share(Without()) < 0.5  # the object's four tokens are gone
    assert share(Without(others=True)) >= 0.85  # as many others are
    oracle = share(Oracle(pruning_ratio=0.9))
    assert oracle >= 0.9
    assert oracle >= share(Random(pruning_ratio=0.9)) + 0.3
    wrong = [dataclasses.replace(one, relevant=((0, 0, 16, 16),)) for one in session.samples]
    session.prompts.samples = wrong
    try:
        assert share(Oracle(pruning_ratio=0.9)) < oracle - 0.3  # told of another place
    finally:
        session.prompts.samples = session.samples


def test_the_step_writes_what_happened(run) -> None:
    """Stored features, images read for their size; token 0 and the end of answers as they were."""
    config, paths = run
    tables = {}
    for name in ("oracle", "first"):
        evaluate_pruned(open_session(config, paths, BENCH, name), name)
        path = paths.evaluation(BENCH, name)
        tables[name] = read_table(path, EVALUATION, {"variant": name}).to_pandas()
    assert tables["first"]["keeps_token_0"].all()
    oracle = tables["oracle"]
    samples = read_samples(paths.samples("evaluation", BENCH), "evaluation", BENCH)
    in_corner = [one.relevant == ((0, 0, 16, 16),) for one in samples]
    last = oracle[(oracle["pruning_ratio"] == "0.9") & (oracle["seed"] == 0)]
    assert last["keeps_token_0"][in_corner].all()  # the first token shows the object
    assert 0 < last["keeps_token_0"].mean() < 0.3
    assert (oracle["kept_tokens"].unique() == [26, 13, 7]).all()
    assert oracle["stopped"].mean() > 0.99
    assert (oracle["first_word_score"] >= oracle["score"]).all()


def test_who_cannot_be_told_is_refused(embedded, tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    inputs = hawk.inference.preprocessing.prompt_inputs(embedded, "which digit is red?", [pixels])
    with (
        Oracle(pruning_ratio=0.5).attach(embedded.model, embedded.processor),
        pytest.raises(InputError, match="oracle must be told which tokens"),
    ):
        embedded.model.generate(**inputs)
    text = (ROOT / "config" / "config.yaml").read_text(encoding="utf-8")
    changed = text.replace("  benchmarks: [", "  benchmarks: [pope, mme, ")
    for name, content in (("good.yaml", text), ("bad.yaml", changed)):
        (tmp_path / name).write_text(content, encoding="utf-8")
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        load_config(tmp_path / "good.yaml")
        with pytest.raises(
            InputError, match=r"'oracle': method 'oracle' must be told .* benchmark 'pope', 'mme' do not know"
        ):
            load_config(tmp_path / "bad.yaml")
    finally:
        os.chdir(before)


def test_boxes_are_checked_when_samples_are_drawn() -> None:
    bench = benchmark("shapes")
    sample = next(bench.load())
    assert checked(bench, [sample]) == [sample]
    check_files([sample])
    for change, message in (
        ({"relevant": None}, "does not say where its object is"),
        ({"images": sample.images * 2}, "relevant boxes are for samples of one image"),
    ):
        with pytest.raises(InputError, match=message):
            checked(bench, [dataclasses.replace(sample, **change)])
    for box in ((0, 0, 65, 16), (16, 0, 16, 16), (0, -1, 16, 16)):
        with pytest.raises(InputError, match="is no part of an image of 64x64 pixels"):
            check_files([dataclasses.replace(sample, relevant=(box,))])
