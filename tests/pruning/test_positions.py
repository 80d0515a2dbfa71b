"""Position ids of what remains and of what is generated, for every policy.

Expected numbers are written out by hand. A prompt is "<start>user\\n" (0-2), then its parts; an
image or video lies between a start and an end marker.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from oracles import FAMILIES, pruned
from tiny_prompts import Image, Video, build
from tiny_random import MODELS

from hawk.models import family_of
from hawk.pruning.base import Pruner
from hawk.pruning.prompt import prune


@dataclass(frozen=True)
class Fixed(Pruner):
    """Keeps the given tokens of every sample."""

    keep: tuple[int, ...] = ()

    @property
    def inactive(self):
        return False

    def kept_indices(self, context):
        return torch.tensor(self.keep)


def seen_positions(model, pruner, inputs):
    """Position ids of every forward pass through the decoder, [rows, batch, n] or [batch, n]."""
    seen = []

    def look(module, args, kwargs):
        seen.append(kwargs["position_ids"].clone())

    decoder = family_of(model).decoder(model)
    handle = decoder.register_forward_pre_hook(look, with_kwargs=True)
    try:
        pruned(model, pruner, inputs)
    finally:
        handle.remove()
    return seen


# Image of 2 x 3 tokens at 4, its columns at 4-6, so that the end marker stands at 7, "20" at 8 and
# the prompt's last token at 14. Kept: token 0 at (4, 4, 4), or token 5 at (4, 5, 6).
QWEN = {
    ("keep", 0): (7, 14),
    ("keep", 5): (7, 14),
    ("rebase", 0): (5, 12),
    ("rebase", 5): (7, 14),
    ("repack", 0): (5, 12),
    ("repack", 5): (5, 12),
}


@pytest.mark.parametrize(("case", "expected"), QWEN.items(), ids=lambda c: f"{c[0]}-{c[1]}")
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_image(family, case, expected):
    policy, kept = case
    model = MODELS[family]()
    inputs = build(family, [[Image(2, 3), 20, 21, 22]])
    seen = seen_positions(model, Fixed(keep=(kept,), position_policy=policy), inputs)
    rows = seen[0][-3:, 0]  # time, height, width
    image = {0: [4, 4, 4], 5: [4, 5, 6]}[kept] if policy != "repack" else [4, 4, 4]
    assert rows[:, 4].tolist() == image
    assert rows[:, 5].tolist() == [expected[0]] * 3  # the end marker
    assert rows[:, -1].tolist() == [expected[1]] * 3
    # seen[i] is the pass over the i-th new token: the tenth stands ten after the prompt's last.
    assert seen[10][-3:, 0, 0].tolist() == [expected[1] + 10] * 3


@pytest.mark.parametrize(("policy", "end"), [("keep", 4 + 16), ("rebase", 4 + 3), ("repack", 5)])
@pytest.mark.parametrize("family", ["internvl", "llava_onevision"])
def test_image_with_plain_positions(family, policy, end):
    model = MODELS[family]()
    inputs = build(family, [[20, Image(1, 1), 21]] if family == "llava_onevision" else [[Image(1, 1), 20]])
    seen = seen_positions(model, Fixed(keep=(2,), position_policy=policy), inputs)
    row = seen[0][0]
    assert row[4] == (4 if policy == "repack" else 6)
    # A lone image of LLaVA-OneVision is a base view, a tile of four rows and their newlines.
    tokens = 36 if family == "llava_onevision" else 16
    assert row[5] == (4 + tokens if policy == "keep" else end)
    last = inputs["input_ids"].shape[1] - 1
    removed = {"keep": 0, "rebase": tokens - 3, "repack": tokens - 1}[policy]
    assert row[-1] == last - removed
    assert seen[10][0, 0] == last - removed + 10


def test_video_keeps_its_times():
    """Qwen2.5-VL: 0.7 s a frame and 4 positions a second put three frames at 0, 2 and 5."""
    model = MODELS["qwen2_5_vl"]()
    assert model.config.vision_config.tokens_per_second == 4
    inputs = build("qwen2_5_vl", [[Video(3, 2, 2), 20]])
    prompt = prune(Fixed(keep=(1, 6, 11)), model, family_of(model), inputs)
    time, height, width = prompt.position_ids[1:, 0, 4:7].tolist()
    assert time == [4, 6, 9]
    assert height == [4, 5, 5]
    assert width == [5, 4, 5]
    # The text goes on after height and width, so it may stand before the last frame's time ...
    assert prompt.position_ids[1:, 0, 7].tolist() == [6, 6, 6]
    # ... unless it is told to stand after what is left.
    rebase = prune(Fixed(keep=(1, 6, 11), position_policy="rebase"), model, family_of(model), inputs)
    assert rebase.position_ids[1:, 0, 7].tolist() == [10, 10, 10]


def test_seconds_per_frame_change_positions():
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[Video(3, 2, 2), 20]])
    slow = {**inputs, "second_per_grid_ts": torch.tensor([2.0])}
    keep = Fixed(keep=(1, 6, 11))
    positions = [prune(keep, model, family_of(model), i).position_ids for i in (inputs, slow)]
    assert positions[0][1, 0, 4:7].tolist() == [4, 6, 9]
    assert positions[1][1, 0, 4:7].tolist() == [4, 12, 20]


def test_two_images_rebase_in_turn():
    """Each image's removed tokens pull what follows it, and only that."""
    model = MODELS["qwen2_5_vl"]()
    inputs = build("qwen2_5_vl", [[Image(2, 2), 20, Image(1, 3), 21]])
    # Unpruned: 0-3, image 4-5, end 6, "20" 7, start 8, image 9-11, end 12, "21" 13.
    prompt = prune(Fixed(keep=(0, 5), position_policy="rebase"), model, family_of(model), inputs)
    # Kept of the first: (4, 4); of the second: column 1.
    width = prompt.position_ids[3, 0].tolist()
    assert width[:11] == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11]


@pytest.mark.parametrize("policy", ["keep", "rebase", "repack"])
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_removed_keeps_all_positions(family, policy):
    """``keep`` and ``rebase`` leave a prompt alone of which nothing is removed."""
    model = MODELS[family]()
    inputs = build(family, [[20, Image(2, 2), 21, Image(1, 2), 22]])
    family_ = family_of(model)
    tokens = sum((inputs["input_ids"] == t).sum() for t in family_.placeholders(model.config).values())
    every = Fixed(keep=tuple(range(int(tokens))), position_policy=policy)
    positions = prune(every, model, family_, inputs).position_ids
    plain = family_.position_ids(model, inputs)
    if policy == "repack" and family_.position_rows > 1:
        assert not torch.equal(positions, plain)
    else:
        assert torch.equal(positions, plain)
