"""Subsets for training: the drawn counts and shares, and shapes that are what their names say."""

import numpy as np
import pytest

from hawk.benchmarks.toy.easy_vqa import read_images
from hawk.benchmarks.toy.scenes import make_scene
from hawk.training.labels import shows_object
from hawk.training.subsets import ALL_SHARE, KINDS, draw_subsets, subset, with_background


@pytest.fixture(scope="module")
def objects() -> np.ndarray:
    return shows_object(make_scene("train", 0, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_every_count_is_met(kind: str, objects: np.ndarray) -> None:
    random = np.random.default_rng(0)
    for count in range(1, 65):
        for _ in range(5):
            expected = min(count, objects.sum()) if kind == "only objects" else count
            assert subset(kind, count, objects, random).sum() == expected


def test_shares_of_the_draw(objects: np.ndarray) -> None:
    kept = draw_subsets(np.repeat(objects[None], 4000, axis=0), np.random.default_rng(0))
    counts = kept.sum(1)
    assert np.mean(counts == 64) == pytest.approx(ALL_SHARE, abs=0.03)
    some = counts[counts < 64]
    assert some.min() == 5  # more than 64 / 16, rounded up
    # Half lie below the geometric middle of 1/16 and 1.
    assert np.mean(some <= 16) == pytest.approx(0.5, abs=0.04)
    only_objects = np.mean(~(kept & ~objects).any(1))
    assert only_objects == pytest.approx((1 - ALL_SHARE) / len(KINDS), abs=0.05)
    share_on_objects = (kept & objects).sum(1) / counts
    for low in np.arange(0, 0.9, 0.1):  # subsets of every share of objects occur
        assert np.mean((share_on_objects >= low) & (share_on_objects <= low + 0.1)) > 0.005
    assert (share_on_objects == 0).any()
    assert (share_on_objects == 1).any()


def test_background_is_as_much_as_asked(objects: np.ndarray) -> None:
    random = np.random.default_rng(0)
    for background in (0, 3, 8):
        chosen = with_background(background, 8, objects, random)
        assert len(set(chosen)) == 8
        assert (~objects[chosen]).sum() == background
    # 40 tokens without background are more than objects have: the rest comes from the background.
    assert objects[with_background(0, 40, objects, random)].sum() == objects.sum() < 40


def test_a_crop_is_one_rectangle_but_for_its_last_row(objects: np.ndarray) -> None:
    random = np.random.default_rng(0)
    for count in (4, 13, 30):
        grid = subset("crop", count, objects, random).reshape(8, 8)
        rows, columns = np.flatnonzero(grid.any(1)), np.flatnonzero(grid.any(0))
        box = grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box[:-1].all()
        assert box[-1, : box[-1].sum()].all()


def test_a_grid_is_spread_over_the_image(objects: np.ndarray) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        grid = subset("grid", 16, objects, random).reshape(8, 8)
        for part in (grid[:4], grid[4:], grid[:, :4], grid[:, 4:]):
            assert 4 <= part.sum() <= 12


def test_objects_are_where_pixels_are_bright() -> None:
    for i in range(20):
        scene = make_scene("test", 1, i)
        brightest = scene.image.reshape(8, 8, 8, 8, 3).max(axis=(1, 3, 4)).ravel()
        # Background has at most 58 of 255 in any channel; a token of an object may show little of it.
        assert not (brightest[~shows_object(scene)] > 60).any()
        assert np.mean(brightest[shows_object(scene)] > 60) > 0.9


def test_easy_vqa_has_one_object_before_background() -> None:
    shares = [shows_object(image).mean() for image, _ in zip(read_images("test"), range(50), strict=False)]
    assert 0 < min(shares) < max(shares) < 0.9
