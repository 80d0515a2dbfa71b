"""The downscale control, and methods for which the vision tower runs though features are stored."""

from __future__ import annotations

import io

import numpy as np
import pytest
from tiny_random import MODELS

from hawk.benchmarks import Sample
from hawk.core.errors import InputError
from hawk.core.images import item_key
from hawk.inference.encoding import Recomputed, encode
from hawk.inference.visual_files import VisualFile
from hawk.models import family_of
from hawk.models.base import VisionLanguageModel
from hawk.pruning import pruner
from hawk.pruning.budget import kept_count
from hawk.pruning.methods.downscale import downscaled_grid, target_size


@pytest.mark.parametrize("shape", [(8, 8), (36, 36), (20, 31), (3, 50), (1, 7), (1, 1)])
@pytest.mark.parametrize("ratio", ["0", "0.3", "0.6", "0.8025", "0.9"])
def test_grid_is_within_the_budget_and_near_it(shape, ratio):
    rows, columns = shape
    count = kept_count(rows * columns, ratio)
    r, c = downscaled_grid(rows, columns, count)
    assert 1 <= r <= rows
    assert 1 <= c <= columns
    assert 0.8 * count - 1 < r * c <= count
    if min(rows, columns) >= 8:  # thinner images have no grid of their shape
        assert abs(np.log(r / c * columns / rows)) < np.log(1.7)


def test_known_sizes():
    assert downscaled_grid(8, 8, 26) == (5, 5)
    assert downscaled_grid(8, 8, 64) == (8, 8)
    assert target_size((1, 8, 8), 8, "0.6") == (40, 40)
    with pytest.raises(InputError, match="single images"):
        target_size((4, 8, 8), 8, "0.6")


def tiny(family: str) -> VisionLanguageModel:
    """An untrained embedded model with its real processor."""
    from hawk.training.architectures import build

    made = build(family)
    return VisionLanguageModel(made.model.eval(), made.processor, family_of(made.model))


def png(side: int = 64, seed: int = 0) -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(256, size=(side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def image_file(content: bytes) -> VisualFile:
    return VisualFile.of({"bytes": content, "path": None})


def test_downscaled_images_have_the_budgets_tokens():
    vlm = tiny("qwen2_5_vl")
    native = encode(vlm, image_file(png()), {})
    small = encode(vlm, image_file(png()), {}, pruner("downscale", pruning_ratio="0.6"))
    assert native.grid == (1, 8, 8)
    assert small.grid == (1, 5, 5)
    assert small.tokens == 25 <= kept_count(native.tokens, "0.6")
    assert small.meta["grid_thw"] == [1, 10, 10]


def test_downscale_is_refused_where_images_become_tiles():
    with pytest.raises(InputError, match="tiles of one size"):
        encode(tiny("internvl"), image_file(png()), {}, pruner("downscale", pruning_ratio="0.6"))


def test_downscale_cannot_be_attached():
    with pytest.raises(InputError, match="resize them"):
        pruner("downscale", pruning_ratio="0.6").attach(MODELS["qwen2_5_vl"]())


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_what_was_seen_in_the_tower_stays_with_the_image(family):
    vlm = tiny(family)
    images = [{"bytes": png(seed=seed), "path": ""} for seed in range(2)]
    sample = Sample(
        sample_id="a", group_id="g", split="test", images=tuple(images), question="?", references=("a",)
    )
    watched = Recomputed(vlm, [sample], {}, pruner("visionzip", pruning_ratio="0.5"))
    plain = Recomputed(vlm, [sample], {})
    for image in images:
        item = watched[item_key(image["bytes"])]
        assert item.observed is not None
        assert item.observed.shape == (item.tokens,)
        assert float(item.observed.std()) > 0
        same = plain[item_key(image["bytes"])]
        assert same.observed is None
        assert bool((same.features == item.features).all())
