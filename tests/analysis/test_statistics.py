"""Resampling and statistics against hand-computed tables, scipy, enumeration and literal loops."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from scipy import stats

from hawk.analysis import statistics
from hawk.analysis.resampling import (
    JointGroups,
    Pairing,
    bootstrap_counts,
    flips_needed,
    group_codes,
    group_sums,
    percentile_interval,
    resampled_stack,
    resampled_values,
    sign_flip_pvalues,
)
from hawk.core.errors import InputError


def mean_value(sums: np.ndarray) -> np.ndarray:
    return 100.0 * sums[..., 0] / sums[..., 1]


def f1_value(sums: np.ndarray) -> np.ndarray:
    """Not linear: 2tp / (2tp + fp + fn)."""
    return 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


# --- groups and the bootstrap -----------------------------------------------------------------------


def test_group_sums_add_the_rows_of_each_image() -> None:
    groups, codes = group_codes(["b", "a", "b", "c"])
    assert groups.tolist() == ["a", "b", "c"]
    rows = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    assert group_sums(rows, codes, 3).tolist() == [[2, 20], [4, 40], [4, 40]]


def test_bootstrap_draws_whole_images_and_is_seeded(rng: np.random.Generator) -> None:
    counts = bootstrap_counts(7, 500, rng)
    assert (counts.sum(axis=1) == 7).all()
    assert (counts == np.round(counts)).all()
    again = bootstrap_counts(7, 500, np.random.default_rng(3))
    assert (counts == again).all()
    assert not (counts == bootstrap_counts(7, 500, np.random.default_rng(4))).all()
    # With replacement: each count is Binomial(7, 1/7), variance 6/7.
    assert counts.var() == pytest.approx(6 / 7, rel=0.1)


def test_resampled_values_equal_a_literal_resample_of_rows(rng: np.random.Generator) -> None:
    groups, codes = group_codes([f"g{i // 3}" for i in range(12)])
    rows = rng.random((12, 3))
    sums = group_sums(rows, codes, len(groups))
    counts = bootstrap_counts(len(groups), 50, rng)
    fast = resampled_values(counts, sums, f1_value)
    for line, value in zip(counts, fast, strict=True):
        drawn = [i for i in range(12) for _ in range(int(line[codes[i]]))]
        assert value == pytest.approx(f1_value(rows[drawn].sum(axis=0)))


def test_a_stack_of_runs_equals_one_run_at_a_time(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hawk.analysis.resampling._CHUNK", 400)  # several products, not one
    stack = rng.random((9, 6, 3))
    counts = bootstrap_counts(6, 40, rng)
    together = list(resampled_stack(counts, stack, f1_value))
    assert len(together) == 9
    for sums, values in zip(stack, together, strict=True):
        np.testing.assert_allclose(values, resampled_values(counts, sums, f1_value))


def test_percentile_interval_is_numpys_and_leaves_out_what_is_undefined() -> None:
    draws = np.arange(1001.0)
    assert percentile_interval(draws, 0.9).tolist() == pytest.approx([50.0, 950.0])
    holes = np.concatenate([draws, [np.nan] * 50])
    assert percentile_interval(holes, 0.9).tolist() == pytest.approx([50.0, 950.0])
    both = percentile_interval(np.stack([draws, np.full(1001, np.nan)]), 0.9)
    assert both[0].tolist() == pytest.approx([50.0, 950.0])
    assert np.isnan(both[1]).all()


def test_bootstrap_interval_of_a_mean_is_near_the_normal_one(rng: np.random.Generator) -> None:
    scores = (rng.random(400) < 0.7).astype(float)
    sums = np.column_stack([scores, np.ones(400)])
    values = resampled_values(bootstrap_counts(400, 4000, rng), sums, mean_value)
    low, high = percentile_interval(values, 0.95)
    error = 100 * scores.std() / 20
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_a_shared_image_is_drawn_equally_often_in_every_benchmark(rng: np.random.Generator) -> None:
    joint = JointGroups([np.array(["a", "b", "c"]), np.array(["b", "c", "d"]), np.array(["x", "y"])])
    assert sorted(len(pool) for pool in joint.pools) == [2, 4]
    first, second, third = joint.counts(200, rng)
    assert (first[:, 1:] == second[:, :2]).all()
    assert (third.sum(axis=1) == 2).all()
    # Alone, a benchmark keeps its size; shared, only the union does.
    assert set(first.sum(axis=1)) != {3.0}


def test_pools_join_benchmarks_through_a_third(rng: np.random.Generator) -> None:
    joint = JointGroups([np.array(["a", "b"]), np.array(["c", "d"]), np.array(["b", "c"])])
    assert [len(pool) for pool in joint.pools] == [4]


# --- noise and weights ------------------------------------------------------------------------------


def test_noise_floor_by_hand() -> None:
    # 4 of 100 answers flipped: 100 · 1.96 · 0.2 / 10
    assert statistics.noise_floor(4, 100) == pytest.approx(3.92)
    assert statistics.noise_floor(0, 100) == 0.0


@pytest.mark.parametrize(
    ("drop", "low", "high", "floor", "noise"),
    [
        (5.0, 1.0, 9.0, 3.0, False),
        (5.0, 0.0, 9.0, 3.0, True),  # the interval contains 0
        (5.0, 1.0, 9.0, 5.0, True),  # within the floor
        (-5.0, -9.0, -1.0, 3.0, False),
        (0.0, 0.0, 0.0, 0.0, True),
        (5.0, float("nan"), float("nan"), 0.0, True),
    ],
)
def test_what_is_noise(drop: float, low: float, high: float, floor: float, noise: bool) -> None:
    assert statistics.is_noise(drop, low, high, floor) is noise


def test_min_shift_by_hand() -> None:
    drops = {"one": np.array([7.0, 5.0, 4.0]), "two": np.array([-1.0, 1.0, 0.0])}
    low = {name: np.zeros(3) for name in drops}
    weights, parts = statistics.pooled_weights(drops, low, "min_shift")
    assert parts["one"].tolist() == pytest.approx([3 / 4, 1 / 4, 0])
    assert parts["two"].tolist() == pytest.approx([0, 2 / 3, 1 / 3])
    assert weights.tolist() == pytest.approx([3 / 8, (1 / 4 + 2 / 3) / 2, 1 / 6])
    assert weights.sum() == pytest.approx(1.0)


def test_min_shift_does_not_see_a_constant_or_the_scale(rng: np.random.Generator) -> None:
    drops = rng.normal(size=8)
    significant = np.zeros(8, dtype=bool)
    one = statistics.normalize_drops(drops, significant, "min_shift")
    two = statistics.normalize_drops(3 * drops + 70, significant, "min_shift")
    np.testing.assert_allclose(one, two)


def test_positive_significant_by_hand() -> None:
    drops = {"one": np.array([6.0, 2.0, 1.0]), "two": np.array([1.0, -5.0, 0.5])}
    low = {"one": np.array([3.0, 0.5, 0.0]), "two": np.array([-1.0, -8.0, -0.1])}
    weights, parts = statistics.pooled_weights(drops, low, "positive_significant")
    assert list(parts) == ["one"]  # an interval that touches 0 is not significant
    assert weights.tolist() == pytest.approx([0.75, 0.25, 0.0])


def test_positive_significant_is_uniform_where_nothing_is_significant() -> None:
    drops = {"one": np.array([6.0, 2.0])}
    weights, parts = statistics.pooled_weights(drops, {"one": np.array([-1.0, 0.0])}, "positive_significant")
    assert weights.tolist() == [0.5, 0.5]
    assert parts == {}


def test_a_benchmark_without_range_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    drops = {"flat": np.full(2, 1.5), "one": np.array([1.0, 0.0])}
    with caplog.at_level(logging.WARNING):
        weights, parts = statistics.pooled_weights(drops, {n: np.zeros(2) for n in drops}, "min_shift")
    assert weights.tolist() == [1.0, 0.0]
    assert list(parts) == ["one"]
    assert "flat" in caplog.text


@pytest.mark.parametrize("normalization", statistics.NORMALIZATIONS)
def test_all_drops_equal_is_an_error(normalization: str) -> None:
    drops = {"one": np.full(3, 2.0), "two": np.zeros(3)}
    with pytest.raises(InputError, match="same drop"):
        statistics.pooled_weights(drops, {n: np.ones(3) for n in drops}, normalization)


def test_bad_drops_and_names_are_errors() -> None:
    with pytest.raises(InputError, match="head 1 has no finite drop"):
        statistics.pooled_weights({"one": np.array([1.0, np.nan])}, {"one": np.zeros(2)}, "min_shift")
    with pytest.raises(InputError, match="min_shift"):
        statistics.normalize_drops(np.ones(2), np.ones(2, bool), "minshift")


def test_distance_to_uniform_by_hand() -> None:
    assert statistics.distance_to_uniform(np.array([0.5, 0.25, 0.25, 0.0])) == pytest.approx(0.25)
    assert statistics.distance_to_uniform(np.full(4, 0.25)) == 0.0
    assert statistics.distance_to_uniform(np.eye(4)[0]) == pytest.approx(0.75)


def test_min_shift_is_biased_to_uniform_and_positive_significant_is_less() -> None:
    """The simulation behind the second normalization: two heads of 28 matter, 2 to 1."""
    rng = np.random.default_rng(0)
    effect = np.zeros(28)
    effect[:2] = [0.10, 0.05]
    shares = {name: [] for name in statistics.NORMALIZATIONS}
    for _ in range(20):
        gap = (rng.random((28, 256)) < effect[:, None]).astype(float)
        flips = rng.random((28, 256)) < 0.04
        gap = np.where(flips, rng.choice([-1.0, 1.0], size=gap.shape), gap)
        drops, error = 100 * gap.mean(axis=1), 100 * gap.std(axis=1) / 16
        for name, found in shares.items():
            found.append(statistics.normalize_drops(drops, drops > 1.96 * error, name)[2:].sum())
    assert np.mean(shares["min_shift"]) > 0.6
    assert np.mean(shares["positive_significant"]) < 0.3


# --- ranks, Holm, small things ----------------------------------------------------------------------


def test_spearman_is_scipys_also_with_ties(rng: np.random.Generator) -> None:
    for _ in range(20):
        a, b = rng.integers(0, 5, size=(2, 12)).astype(float)
        if np.ptp(a) and np.ptp(b):
            assert statistics.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    many = rng.random((2, 6, 9))
    each = [stats.spearmanr(x, y).statistic for x, y in zip(*many, strict=True)]
    np.testing.assert_allclose(statistics.spearman(*many), each)
    assert np.isnan(statistics.spearman(np.ones(4), np.arange(4.0)))


def literal_holm(pvalues: list[float]) -> list[float]:
    order = sorted(range(len(pvalues)), key=lambda i: pvalues[i])
    adjusted, running = [0.0] * len(pvalues), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = running
    return adjusted


def test_holm_by_hand_and_against_a_literal_loop(rng: np.random.Generator) -> None:
    assert statistics.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    for _ in range(20):
        p = rng.random(7) ** 3
        np.testing.assert_allclose(statistics.holm(p), literal_holm(p.tolist()))
    assert statistics.holm([]).tolist() == []


def test_enough_flips_that_one_comparison_can_pass_holm() -> None:
    for comparisons in (1, 105, 500):
        smallest = 1 / (1 + flips_needed(comparisons))
        assert statistics.holm([smallest] + [1.0] * (comparisons - 1))[0] < 0.05
    assert 105 / (1 + 2000) > 0.05  # the 2,000 of the bootstrap could not


def test_win_tie_loss_and_retention() -> None:
    assert statistics.win_tie_loss(np.array([1, 1, 0, 0.5]), np.array([0, 1, 1, 0.5])) == (1, 2, 1)
    assert statistics.retention(40.0, 80.0) == 50.0
    assert np.isnan(statistics.retention(1.0, 0.0))


@pytest.mark.parametrize(
    ("difference", "p", "word"),
    [(1.0, 0.049, "better"), (-1.0, 0.049, "worse"), (1.0, 0.05, "—"), (9.0, float("nan"), "—")],
)
def test_verdict_follows_p_alone(difference: float, p: float, word: str) -> None:
    assert statistics.verdict(difference, p) == word


# --- sign flips -------------------------------------------------------------------------------------


def swap_pvalue(first: np.ndarray, second: np.ndarray, value) -> float:
    """Every way of swapping the two methods' rows, literally."""
    observed = abs(value(first.sum(axis=0)) - value(second.sum(axis=0)))
    reached = []
    for swaps in itertools.product([False, True], repeat=len(first)):
        pick = np.array(swaps)[:, None]
        a, b = np.where(pick, second, first), np.where(pick, first, second)
        reached.append(abs(value(a.sum(axis=0)) - value(b.sum(axis=0))) >= observed - 1e-9)
    return float(np.mean(reached))


@pytest.mark.parametrize("value", [mean_value, f1_value])
def test_sign_flips_equal_literal_swapping(value, rng: np.random.Generator) -> None:
    first, second = rng.integers(1, 5, size=(2, 8, 3)).astype(float)
    second[3] = first[3]  # a group in which nothing differs
    pairing = Pairing.of(first[None], second[None], value)
    found = sign_flip_pvalues([[(pairing, np.arange(8))]], 8, 100, rng)
    assert found[0] == pytest.approx(swap_pvalue(first, second, value))
    assert 0.0 < found[0] < 1.0


def test_sign_flips_of_a_mean_equal_scipys_permutation_test(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=(2, 10))
    first += 0.5
    sums = [np.column_stack([one, np.ones(10)])[None] for one in (first, second)]
    pairing = Pairing.of(sums[0], sums[1], lambda s: s[..., 0] / s[..., 1])
    found = sign_flip_pvalues([[(pairing, np.arange(10))]], 10, 100, rng)[0]
    expected = stats.permutation_test(
        (first, second), lambda a, b: a.mean() - b.mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert found == pytest.approx(expected.pvalue)


def test_random_flips_approach_the_exact_p(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, size=(2, 1, 14, 3)).astype(float)
    comparison = [(Pairing.of(first, second, f1_value), np.arange(14))]
    exact = sign_flip_pvalues([comparison], 14, 1, rng)[0]
    monkeypatch.setattr("hawk.analysis.resampling.EXACT_GROUPS", 0)
    monkeypatch.setattr("hawk.analysis.resampling._CHUNK", 14 * 1000)  # in several chunks
    sampled = sign_flip_pvalues([comparison], 14, 20_000, np.random.default_rng(1))[0]
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert sampled != exact


def test_equal_methods_have_p_one_and_a_sure_difference_a_small_one(rng: np.random.Generator) -> None:
    sums = np.column_stack([rng.random(40), np.ones(40)])[None]
    better = sums + np.array([0.3, 0.0])
    index = np.arange(40)
    found = sign_flip_pvalues(
        [[(Pairing.of(sums, sums, mean_value), index)], [(Pairing.of(better, sums, mean_value), index)]],
        40,
        10_000,
        rng,
    )
    assert found[0] == 1.0
    assert found[1] == pytest.approx(1 / 10_001)


def test_p_is_uniform_when_nothing_differs_but_noise() -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(200):
        sums = [np.column_stack([one, np.ones(30)])[None] for one in rng.random((2, 30))]
        found.append(sign_flip_pvalues([[(Pairing.of(*sums, mean_value), np.arange(30))]], 30, 500, rng)[0])
    assert np.mean(np.array(found) <= 0.05) <= 0.09
    assert 0.4 <= np.mean(np.array(found) <= 0.5) <= 0.6


def test_a_seeded_method_is_compared_by_its_mean_over_seeds(rng: np.random.Generator) -> None:
    seeds, reference = rng.random((3, 6, 2)) + 0.5, rng.random((1, 6, 2)) + 0.5
    pairing = Pairing.of(seeds, reference, mean_value)
    by_hand = np.mean([mean_value(s.sum(axis=0)) for s in seeds]) - mean_value(reference[0].sum(axis=0))
    assert pairing.statistic(np.ones((6, 1)))[0] == pytest.approx(by_hand)
    signs = np.array([[1, -1, 1, 1, -1, 1.0]]).T
    pick = signs < 0
    flipped = [
        mean_value(np.where(pick, reference[0], s).sum(axis=0))
        - mean_value(np.where(pick, s, reference[0]).sum(axis=0))
        for s in seeds
    ]
    assert pairing.statistic(signs)[0] == pytest.approx(np.mean(flipped))


def test_reduced_pairing_has_the_same_statistic(rng: np.random.Generator) -> None:
    first, second = rng.integers(1, 4, size=(2, 2, 12, 3)).astype(float)
    same = [0, 4, 5, 9]
    second[:, same] = first[:, same]
    pairing = Pairing(first, second, f1_value)
    small, kept = pairing.reduced()
    assert len(kept) == 9  # those that differ, and one that carries the rest
    signs = rng.choice([-1.0, 1.0], size=(12, 50))
    np.testing.assert_allclose(small.statistic(signs[kept]), pairing.statistic(signs))


def test_a_shared_image_is_flipped_in_all_benchmarks_at_once(rng: np.random.Generator) -> None:
    """Two benchmarks with the same 8 images are one experiment of 8 coins, not of 16."""
    first, second = rng.random((2, 1, 8, 2)) + 0.5
    one = Pairing.of(first, second, mean_value)
    index = np.arange(8)
    alone = sign_flip_pvalues([[(one, index)]], 8, 10, rng)[0]
    twice = sign_flip_pvalues([[(one, index), (one, index)]], 8, 10, rng)[0]
    apart = sign_flip_pvalues([[(one, index), (one, index + 8)]], 16, 10, rng)[0]
    assert twice == alone
    assert apart < alone
