"""What callers of ``attach`` and ``generate`` give: honoured, or refused by name."""

from __future__ import annotations

import pytest
import torch
from oracles import CASES, FAMILIES, pruned
from tiny_prompts import Image, Video, build, vlm
from tiny_random import IMAGE, MODELS, VIDEO

from hawk.core.errors import InputError
from hawk.pruning.methods.fastv import FastV
from hawk.pruning.methods.random import Random

KEPT = Random(pruning_ratio=0.6)
VISION = {
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "vision_aspect_ratio": "anyres_max_1",
}
QWEN = [family for family in FAMILIES if family.startswith("qwen")]
POSITIONS = ("position_ids", "cache_position", "rope_deltas")
REFUSED = [
    *((family, name, None) for family in FAMILIES for name in POSITIONS),
    *(("llava_onevision", name, value) for name, value in VISION.items()),
    ("internvl", "vision_feature_layer", -2),
    ("internvl", "vision_feature_select_strategy", "full"),
    *((family, "image_sizes", None) for family in QWEN),
    *((family, "image_grid_thw", None) for family in ("internvl", "llava_onevision")),
    ("qwen2_vl", "second_per_grid_ts", None),
    ("internvl", "mm_token_type_ids", None),
]  # fmt: skip


@pytest.mark.parametrize(("family", "name", "value"), REFUSED)
def test_what_pruning_cannot_honour_is_refused_by_name(family, name, value):
    model, inputs = MODELS[family](), build(family, CASES["one"])
    given = torch.arange(inputs["input_ids"].shape[1])[None] if value is None else value
    with KEPT.attach(model), pytest.raises(InputError, match=name):
        model.generate(**{**inputs, name: given}, max_new_tokens=1)


@pytest.mark.parametrize("family", ["internvl", "llava_onevision"])
def test_the_configurations_own_settings_may_be_given(family):
    model, inputs = MODELS[family](), build(family, CASES["one"])
    own = {name: getattr(model.config, name) for name in VISION if hasattr(model.config, name)}
    assert own
    assert torch.equal(
        pruned(model, KEPT, {**inputs, **own}).sequences, pruned(model, KEPT, inputs).sequences
    )


def test_a_prompt_given_twice():
    model, inputs = MODELS["qwen2_5_vl"](), build("qwen2_5_vl", CASES["one"])
    with KEPT.attach(model), pytest.raises(InputError, match="not as both"):
        model.generate(inputs["input_ids"], **inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_and_sizes_in_other_forms(family):
    """int32 ids, and what other processors give as lists."""
    model, inputs = MODELS[family](), build(family, [[Image(2, 2), 20, 21, 22]])
    names = [name for name in ("image_sizes", "image_grid_thw") if name in inputs]
    lists = {name: [tuple(size) for size in inputs[name].tolist()] for name in names}
    if family == "llava_onevision":
        assert lists
    expected = pruned(model, KEPT, inputs)
    out = pruned(model, KEPT, {**inputs, **lists, "input_ids": inputs["input_ids"].int()})
    assert torch.equal(out.sequences, expected.sequences)
    assert torch.equal(torch.stack(out.logits), torch.stack(expected.logits))


def test_ids_that_are_no_batch_of_ids():
    model, inputs = MODELS["qwen2_5_vl"](), build("qwen2_5_vl", CASES["one"])
    ids = inputs["input_ids"]
    for wrong, said in (
        (ids.tolist(), "input_ids is list"),
        (ids[0], r"input_ids is a tensor of shape \[\d+\]"),
    ):
        with KEPT.attach(model), pytest.raises(InputError, match=said + r"; a tensor \[batch, tokens\]"):
            model.generate(**{**inputs, "input_ids": wrong, "attention_mask": None}, max_new_tokens=1)


GRID = torch.tensor([[1, 8, 8]])
ODD = {  # name → (what is given in its place, the message)
    "no token": ("input_ids", lambda x: x[:, :0], r"input_ids \[1, 0\] hold no token"),
    "no row": ("input_ids", lambda x: x[:0], r"input_ids \[0, \d+\] hold no token"),
    "ids as floats": ("input_ids", lambda x: x.float(), "input_ids are torch.float32"),
    "complex ids": ("input_ids", lambda x: x.to(torch.complex64), "input_ids are torch.complex64"),
    "ids that are true or false": ("input_ids", lambda x: x.bool(), "input_ids are torch.bool"),
    "a negative id": ("input_ids", lambda x: x.masked_fill(x == 20, -1), "input_ids hold -1; .* vocabulary"),
    "an id beyond": ("input_ids", lambda x: x.masked_fill(x == 20, 10**7), "hold 10000000; .* vocabulary"),
    "pixels as a list": ("pixel_values", lambda x: x.tolist(), "pixel_values is list; a tensor"),
    "pixels in numpy": ("pixel_values", lambda x: x.numpy(), "pixel_values is ndarray; a tensor"),
    "pixels too few": ("pixel_values", lambda x: x[:-4], "says 64 patches; pixel_values has 60 rows"),
    "no pixels": ("pixel_values", lambda x: x[:0], "says 64 patches; pixel_values has 0 rows"),
    "a grid of zeros": ("image_grid_thw", lambda x: x * 0, r"image_grid_thw holds \[0, 0, 0\]"),
    "a negative grid": ("image_grid_thw", lambda x: -x, r"image_grid_thw holds \[-1, -8, -8\]"),
    "a grid of floats": ("image_grid_thw", lambda x: x.float(), "image_grid_thw is a torch.float32 tensor"),
    "one size alone": ("image_grid_thw", lambda x: x[0], r"tensor of shape \[3\]"),
    "a grid too many": ("image_grid_thw", lambda x: x.repeat(2, 1), "says 128 patches; pixel_values has 64"),
    "a grid that does not merge": ("image_grid_thw", lambda x: x + GRID // 8, r"9, 9\]; .* multiples of 2"),
    "a grid without end": ("image_grid_thw", lambda x: x * 2**40, "image_grid_thw holds"),
    "a mask as a list": ("attention_mask", lambda x: x.tolist(), "attention_mask is list; a tensor"),
    "a mask of NaN": ("attention_mask", lambda x: x * float("nan"), "attention_mask holds NaN"),
    "types of nothing": ("mm_token_type_ids", lambda x: x * 0, "mm_token_type_ids does not mark"),
    "types of a video": ("mm_token_type_ids", lambda x: x * 2, "mm_token_type_ids does not mark"),
    "pixels too narrow": ("pixel_values", lambda x: x[:, :-1], r"shape \[64, 95\]; .* shape \[..., 96\]"),
    "pixels in one row": ("pixel_values", lambda x: x[0], r"pixel_values is a torch.float32 tensor of shape"),
    "pixels of whole numbers": ("pixel_values", lambda x: x.long(), "pixel_values is a torch.int64 tensor"),
    "other types": ("mm_token_type_ids", lambda x: x[:, :3], r"mm_token_type_ids \[1, 3\] does not fit"),
    "a cache of tuples": ("past_key_values", lambda x: ((),), "past_key_values is tuple; .* Cache"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_tensors_are_refused_by_name(case):
    name, change, said = ODD[case]
    model, inputs = MODELS["qwen2_5_vl"](), build("qwen2_5_vl", [[20, Image(4, 4), 21]])
    assert torch.equal(inputs["image_grid_thw"], GRID)
    with KEPT.attach(model), pytest.raises(InputError, match=said):
        model.generate(**{**inputs, name: change(inputs.get(name))}, max_new_tokens=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_that_the_tower_cannot_take(family):
    model, inputs = MODELS[family](), build(family, [[Image(2, 2), 20]])
    for change in (lambda x: x[..., :-1], lambda x: x[0, 0], lambda x: (x * 9).to(torch.uint8)):
        changed = {**inputs, "pixel_values": change(inputs["pixel_values"])}
        with (
            KEPT.attach(model),
            pytest.raises(InputError, match="pixel_values is a .*; the vision tower"),
        ):
            model.generate(**changed, max_new_tokens=1)


SIZES = {  # what is given for image_sizes and batch_num_images, and the message
    "too few": (lambda s: s[:1], None, "image_sizes are of 1 images"),
    "of floats": (lambda s: s.float(), None, "image_sizes is .*; rows of height and"),
    "of zeros": (lambda s: s * 0, None, "image_sizes is .*; rows of height and"),
    "a third number": (lambda s: s.repeat(1, 2)[:, :3], None, "image_sizes is .*; rows of height and"),
    "larger than the tiles": (lambda s: s, [1], r"batch_num_images is \[1\]; image_sizes are of 2"),
    "rows of two lengths": (lambda s: [[1, 2], [3]], None, "image_sizes is .*; it must be a tensor, or rows"),
    "words": (lambda s: [["a", "b"]] * 2, None, "image_sizes is .*; it must be a tensor, or rows"),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_that_are_not_those_of_the_images(case):
    change, counts, said = SIZES[case]
    model, inputs = MODELS["llava_onevision"](), build("llava_onevision", [[Image(2, 2), 20, Image(1, 2)]])
    inputs["image_sizes"] = change(inputs["image_sizes"])
    if counts is not None:
        inputs["batch_num_images"] = torch.tensor(counts)
    with KEPT.attach(model), pytest.raises(InputError, match=said):
        model.generate(**inputs, max_new_tokens=1)


def test_an_image_with_fewer_views_than_its_size():
    for family in ("llava_onevision", "llava_next"):
        model, inputs = MODELS[family](), build(family, [[Image(2, 2), 20]])
        inputs["pixel_values"] = inputs["pixel_values"][:, :2]
        with (
            KEPT.attach(model),
            pytest.raises(InputError, match=r"images with \[5\] views; pixel_values has"),
        ):
            model.generate(**inputs, max_new_tokens=1)


@pytest.mark.parametrize("family", ["llava_onevision", "llava_next"])
def test_views_may_be_given_one_after_another(family):
    """As the model itself takes them; the processor stacks them by image."""
    model, inputs = MODELS[family](), build(family, [[Image(2, 2), 20]])
    stacked = {**inputs, "pixel_values": inputs["pixel_values"][0, :5]}  # more is padding
    assert torch.equal(pruned(model, KEPT, stacked).sequences, pruned(model, KEPT, inputs).sequences)
    stacked["pixel_values"] = stacked["pixel_values"][:4]
    with KEPT.attach(model), pytest.raises(InputError, match=r"with \[5\] views"):
        model.generate(**stacked, max_new_tokens=1)


def test_times_of_other_videos():
    model, inputs = MODELS["qwen2_5_vl"](), build("qwen2_5_vl", [[Video(2), 20]])
    inputs["second_per_grid_ts"] = inputs["second_per_grid_ts"].repeat(2)
    with KEPT.attach(model), pytest.raises(InputError, match="second_per_grid_ts has 2 entries for 1 videos"):
        model.generate(**inputs, max_new_tokens=1)


class Wrapper(torch.nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.backbone = inside


def test_what_is_no_model_is_refused_with_the_remedy():
    model = MODELS["qwen2_5_vl"]()
    for other, remedy in (
        (torch.nn.DataParallel(model), r"attach to its \.module"),
        (Wrapper(model), r"attach to its \.backbone"),
        (vlm("qwen2_5_vl"), r"attach to its \.model"),
        (model.model, "AutoModelForImageTextToText"),
        (torch.nn.Linear(1, 1), "no transformers model"),
        ("qwen2.5-vl-7b", "no transformers model"),
    ):
        with pytest.raises(InputError, match=remedy), KEPT.attach(other):
            pass
    with (
        pytest.raises(InputError, match="AutoProcessor"),
        KEPT.attach(model, vlm("qwen2_5_vl").processor.tokenizer),
    ):
        pass
    assert "generate" not in model.__dict__


@pytest.mark.parametrize("where", ["argument", "configuration"])
def test_a_second_stream_inside_fastv(where):
    from transformers import GenerationConfig

    model, inputs = MODELS["qwen2_5_vl"](), build("qwen2_5_vl", CASES["one"])
    negative = inputs["input_ids"].clone()
    given = {"guidance_scale": 2.0}
    if where == "configuration":
        given = {"generation_config": GenerationConfig(guidance_scale=2.0, max_new_tokens=2)}
    with FastV(pruning_ratio=0.5, layer=1).attach(model), pytest.raises(InputError, match="guidance_scale"):
        model.generate(**inputs, negative_prompt_ids=negative, **given)


def test_items_whose_placeholders_are_mixed():
    """A feature is placed by where its item stands among all; mixed, it would be placed as another's."""
    model, inputs = MODELS["llava_onevision"](), build("llava_onevision", [[Image(1, 1), Video(2), 20]])
    ids = inputs["input_ids"]
    image, video = ((ids[0] == token).nonzero().flatten() for token in (IMAGE, VIDEO))
    with KEPT.attach(model):
        model.generate(**inputs, max_new_tokens=1)
        ids[0, image[1]], ids[0, video[0]] = VIDEO, IMAGE
        with pytest.raises(InputError, match="placeholders stand between those of another"):
            model.generate(**inputs, max_new_tokens=1)
