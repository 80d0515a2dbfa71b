"""Metrics on any input: no error, in range, the same in any order; missing rows are named."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_snapshots import PUBLISHED, samples

from hawk.benchmarks import benchmark
from hawk.benchmarks.bases.multiple_choice import split_options
from hawk.benchmarks.hallusionbench import keys
from hawk.benchmarks.mme import CATEGORIES as MME_CATEGORIES
from hawk.benchmarks.rules import choices, metrics, normalise
from hawk.core.errors import InputError

# Any text, and text made of what the rules look for.
PIECES = st.sampled_from(
    ["yes", "No", "A", "(B)", "C.", "answer is", "the", "two", "1,000", "5%", "[1, 2]", "nan", "\n", "*", "İ"]
)
TEXT = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=8).map(" ".join))
QUICK = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_answer_raises_or_leaves_the_range(name):
    benches = {protocol: benchmark(name, {"protocol": protocol}) for protocol in benchmark(name).protocols}

    @QUICK
    @given(TEXT)
    def check(text):
        for protocol, bench in benches.items():
            for sample in samples(name):
                parsed = bench.parse(text, sample, protocol)
                assert parsed is None or isinstance(parsed, str)
                if parsed is not None:
                    assert 0.0 <= bench.score(parsed, sample, protocol) <= 1.0

    check()


@QUICK
@given(TEXT, st.lists(TEXT, min_size=1, max_size=10))
def test_shared_rules_take_any_text(text, references):
    assert metrics.yes_or_no(text) in ("Yes", "No", "Unknown")
    assert metrics.yes_or_no_prefix(text) in ("yes", "no", "other")
    for one in references:
        assert metrics.relaxed_match(text, one) in (0.0, 1.0)
    assert 0.0 <= metrics.anls(text, references) <= 1.0
    assert 0.0 <= metrics.vqa_accuracy(normalise.vqa_text(text), references) <= 1.0
    options = dict(zip("ABCDEFGHIJ", references, strict=False))
    for plain in (True, False):
        assert choices.infer_option(text, options, plain) in (None, "Z", *options)
    assert choices.extract_option(text, "ABCD") in (None, *"ABCD")
    assert metrics.any_letter(text, options) in options
    assert all(isinstance(one, str) for one in metrics.listed(text))
    stem, found = split_options(text)
    assert isinstance(stem, str)
    assert len(found) != 1


@QUICK
@given(TEXT)
def test_an_answer_equals_itself(text):
    assert metrics.anls(text, [text]) == 1.0
    assert metrics.same_text(text, text) == 1.0
    assert metrics.relaxed_match(text, text) == 1.0 or "nan" in text.lower() or "inf" in text.lower()


@QUICK
@given(st.text(alphabet="abAB \n", max_size=12), st.text(alphabet="abAB \n", max_size=12))
def test_edit_distance_by_its_definition(first, second):
    @functools.cache
    def distance(i, j):
        if min(i, j) == 0:
            return i + j
        change = first[i - 1] != second[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + change)

    assert metrics.edit_distance(first, second) == distance(len(first), len(second))


# --- aggregates ----------------------------------------------------------------------------------
def table(name, answers):
    """A full table of a benchmark, with answers for parsed and score drawn from 0 and 1."""
    rows = []
    if name == "mme":
        for category in MME_CATEGORIES:
            rows += [(f"{category}|{i}", f"{category}/x#2", category) for i in range(2)]
    elif name == "hallusionbench":
        for number in range(12):
            place = f"VD_chart_{number // 6}_{number % 3}_{number % 2}"
            rows.append((f"{number}_{place}", f"VD_chart_{number // 6}#6", "VD > VD_chart"))
    elif name == "pope":
        for category in ("adversarial", "popular", "random"):
            rows += [(f"{category}{i}", None, f"{category} > {'Yes' if i % 2 else 'No'}") for i in range(4)]
    elif name == "mmbench":
        rows = [(str(g + k * 1_000_000), f"{g}#3", "c > l") for g in range(4) for k in range(3)]
    elif name == "mmstar":
        rows = [(str(i), None, f"math > {'geometry' if i % 3 else 'algebra'}") for i in range(9)]
    elif name == "mlvu":
        rows = [(str(i), None, ("plotQA", "count")[i % 2]) for i in range(8)]
    else:
        rows = [(str(i), None, "x") for i in range(8)]
    frame = pd.DataFrame(rows, columns=["sample_id", "metric_group", "category"])
    right = [bool(answers[i % len(answers)]) for i in range(len(frame))]
    frame["score"] = [float(one) for one in right]
    truth = frame["category"].str.rsplit(" > ", n=1).str[-1]
    other = truth.map({"Yes": "No", "No": "Yes"})
    frame["parsed"] = np.where(right, truth, other)
    return frame


GROUPED = ("mme", "hallusionbench", "mmbench")
AGGREGATES = [
    (name, protocol)
    for name in ("mme", "hallusionbench", "mmbench", "pope", "mmstar", "mlvu", "ocrbench", "ai2d", "textvqa")
    for protocol in benchmark(name).protocols
]


@pytest.mark.parametrize(("name", "protocol"), AGGREGATES)
def test_aggregate_is_in_range_and_knows_no_order(name, protocol):
    bench = benchmark(name, {"protocol": protocol})

    @QUICK
    @given(st.lists(st.booleans(), min_size=1, max_size=7), st.randoms(use_true_random=False))
    def check(answers, random):
        rows = table(name, answers)
        value = bench.aggregate(rows)
        assert 0.0 <= value <= bench.native_max + 1e-9
        order = list(range(len(rows)))
        random.shuffle(order)
        assert bench.aggregate(rows.iloc[order].reset_index(drop=True)) == pytest.approx(value)
        assert bench.aggregate(rows.iloc[order]) == pytest.approx(value)  # whatever the index is

    check()
    if name not in ("pope", "mlvu"):
        assert bench.aggregate(table(name, [True])) == pytest.approx(bench.native_max)
    assert bench.aggregate(table(name, [False])) == 0.0


@pytest.mark.parametrize(("name", "protocol"), AGGREGATES)
def test_sums_of_parts_are_the_sum_of_the_whole(name, protocol):
    """Groups are resampled: contributions of a metric group must not depend on other groups."""
    bench = benchmark(name, {"protocol": protocol})
    rows = table(name, [True, False, True, True, False])
    whole = bench.contributions(rows)
    assert whole.dtype == np.float64
    assert len(whole) == len(rows)
    doubled = pd.concat([rows, _renamed(rows)], ignore_index=True)
    twice = bench.contributions(doubled)
    assert twice[: len(rows)] == pytest.approx(whole)
    assert bench.value(2 * whole.sum(axis=0)) == pytest.approx(bench.value(whole.sum(axis=0)))
    stacked = np.stack([whole.sum(axis=0), twice.sum(axis=0)])
    assert bench.value(stacked) == pytest.approx([bench.aggregate(rows), bench.aggregate(doubled)])


def _renamed(rows):
    """The same rows as other groups."""
    other = rows.copy()
    if other["sample_id"].str.count("_").eq(5).all():
        other["sample_id"] = other["sample_id"].str.replace("chart", "table")
    else:
        other["sample_id"] = [
            str(int(one) + 500) if one.isdecimal() else f"{one}b" for one in other["sample_id"]
        ]
    if other["metric_group"].notna().all():
        other["metric_group"] = "other " + other["metric_group"]
    return other


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_missing_row_of_a_group_is_named(name, place):
    rows = table(name, [True])
    lost = rows.iloc[place]
    with pytest.raises(InputError, match="rows") as caught:
        benchmark(name).aggregate(rows.drop(rows.index[place]))
    assert repr(lost["metric_group"]) in str(caught.value)


def test_a_missing_copy_is_named_even_without_a_count():
    rows = table("mmbench", [True])
    rows["metric_group"] = rows["metric_group"].str.split("#").str[0]
    assert benchmark("mmbench").aggregate(rows) == 100.0
    first = rows[rows["sample_id"] != "2"]
    with pytest.raises(InputError, match=r"question 2 .*\[1000002, 2000002\]"):
        benchmark("mmbench").aggregate(first)


@pytest.mark.parametrize(("name", "category"), [("mme", "landmark"), ("pope", "popular")])
def test_a_missing_category_is_named(name, category):
    rows = table(name, [True])
    with pytest.raises(InputError, match=f"no row of category '{category}'"):
        benchmark(name).aggregate(rows[~rows["category"].str.startswith(category)])


def test_an_unknown_category_is_named():
    rows = table("mme", [True]).replace({"category": {"landmark": "landmarks"}})
    with pytest.raises(InputError, match="'landmark'"):
        benchmark("mme").aggregate(rows)


def test_mme_counts_pairs_not_rows():
    rows = table("mme", [True, False])
    assert benchmark("mme").aggregate(rows) == 14 * 50.0
    assert benchmark("mme").report(rows)["color"] == 50.0


def test_mmbench_counts_questions_not_copies():
    rows = table("mmbench", [True] * 11 + [False])
    assert benchmark("mmbench").aggregate(rows) == 75.0


def test_pope_unreadable_answers_to_yes_are_misses_for_vlmevalkit_alone():
    rows = table("pope", [True])
    rows.loc[rows["category"] == "random > Yes", ["parsed", "score"]] = [None, 0.0]
    ours = benchmark("pope", {"protocol": "vlmevalkit"}).report(rows)["Overall"]
    theirs = benchmark("pope", {"protocol": "lmms-eval"}).report(rows)["Overall"]
    assert ours["recall"] == pytest.approx(100 * 4 / 6)
    assert theirs["recall"] == 100.0


@pytest.mark.parametrize(("name", "protocol"), AGGREGATES)
def test_answers_may_stay_in_arrow(name, protocol):
    """As hawk.scored hands them over: strings of Arrow, with nulls."""
    bench = benchmark(name, {"protocol": protocol})
    rows = table(name, [True, False])
    said = [None if i % 3 == 0 else str(one) for i, one in enumerate(rows["parsed"])]
    rows["parsed"] = pd.Series(said, dtype=object)
    stored = rows.assign(parsed=pd.arrays.ArrowExtensionArray(pa.chunked_array([said], pa.string())))
    found = bench.contributions(stored)
    assert found.dtype == np.float64
    assert found == pytest.approx(bench.contributions(rows))


def test_mmstar_means_differ_by_protocol():
    rows = table("mmstar", [True, False, False])  # right where the category is algebra: 3 of 9 rows
    assert benchmark("mmstar").aggregate(rows) == pytest.approx(100 / 3)
    assert benchmark("mmstar", {"protocol": "lmms-eval"}).aggregate(rows) == pytest.approx(50.0)


def test_an_index_of_another_form_is_refused():
    with pytest.raises(InputError, match="has 3 fields; expected six"):
        keys("VD_chart_1")
