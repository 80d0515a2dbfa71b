"""The comparison: literal computations, audits, the declared family, and words."""

from __future__ import annotations

import csv
import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from factories import make_config, toy_benchmarks, write_run
from literal_tables import Literal, cell, change

from hawk.analysis import statistics
from hawk.analysis.comparison import RETENTION
from hawk.analysis.controls import CONTROLS, is_calibrated, is_control
from hawk.analysis.evaluation_files import read_evaluation
from hawk.analysis.resampling import bootstrap_counts, rng_of
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.pruning.budget import ratio_text
from hawk.report.numbers import number
from hawk.report.tables import read_controls, read_retention, text_table
from hawk.steps.make_tables import make_tables

BENCHMARKS = ["toy", "shared", "pairs"]


@pytest.fixture(scope="module", autouse=True)
def toys():
    with toy_benchmarks():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], pd.DataFrame]:
    """A compared run; not to be changed."""
    root = str(tmp_path_factory.mktemp("run"))
    config = make_config()
    config["evaluation"] = {**config["evaluation"], "benchmarks": BENCHMARKS, "ratios": [0.6, 0.80]}
    config["evaluation"]["published"] = {
        "baseline": {"0": {"toy": 80}},
        "hawk-zero": {0.8: {"toy": 71.5, "overall": 91}},
        "random": {"0.6": {"toy": 66}},
    }
    write_run(root, config)
    make_tables(config, root)
    return root, config, read_retention(root)[0]


@pytest.fixture
def copy(made, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    shutil.copytree(made[0], tmp_path / "run")
    return str(tmp_path / "run"), json.loads(json.dumps(made[1]))


# --- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "seeds"), [("hawk-zero", 1), ("random", 3), ("blind", 1)])
def test_retention_and_difference_equal_a_literal_computation(made, variant: str, seeds: int) -> None:
    root, config, frame = made
    differences = []
    for name in BENCHMARKS:
        literal = Literal(root, config, name)
        row = cell(frame, variant, "0.8", name)
        assert row["retention"] == pytest.approx(literal.retention(variant, "0.8", seeds))
        natives = [literal.bench.aggregate(literal.rows(variant, "0.8", s)) for s in range(seeds)]
        assert row["native_value"] == pytest.approx(np.mean(natives))
        base = literal.bench.aggregate(literal.rows("baseline", ""))
        assert row["seed_low"] == pytest.approx(100 * min(natives) / base)
        assert row["seed_high"] == pytest.approx(100 * max(natives) / base)
        reference = literal.retention("hawk-uniform", "0.8")
        differences.append(row["retention"] - reference)
        assert row["difference"] == pytest.approx(differences[-1])
        ours = literal.rows("hawk-uniform", "0.8")["score"].to_numpy()
        gaps = [literal.rows(variant, "0.8", s)["score"].to_numpy() - ours for s in range(seeds)]
        assert row["wins"] == pytest.approx(np.mean([(g > 0).sum() for g in gaps]))
        assert row["losses"] == pytest.approx(np.mean([(g < 0).sum() for g in gaps]))
        assert row["wins"] + row["ties"] + row["losses"] == 64
    overall = cell(frame, variant, "0.8", "overall")
    assert overall["difference"] == pytest.approx(np.mean(differences))
    by_hand = np.mean([cell(frame, variant, "0.8", name)["retention"] for name in BENCHMARKS])
    assert overall["retention"] == pytest.approx(by_hand)
    assert overall["groups"] == 64  # toy and shared show the same 32 images
    assert overall["samples"] == 192


def test_interval_of_retention_resamples_images_and_the_baseline_with_them(made) -> None:
    root, config, frame = made
    literal = Literal(root, config, "toy")
    rows = [literal.rows(*what) for what in (("hawk-zero", "0.8"), ("baseline", ""), ("hawk-uniform", "0.8"))]
    groups = sorted(set(rows[0]["group_id"]))
    counts = bootstrap_counts(len(groups), config["statistics"]["resamples"], rng_of(0, "retention", "toy"))
    draws = []
    for line in counts:
        weight = rows[0]["group_id"].map(dict(zip(groups, line, strict=True))).to_numpy()
        draws.append([float((part["score"] * weight).sum() / weight.sum()) for part in rows])
    ours, base, reference = np.array(draws).T
    row = cell(frame, "hawk-zero", "0.8", "toy")
    expected = np.percentile(100 * ours / base, [2.5, 97.5])
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(expected.tolist())
    paired = np.percentile(100 * (ours - reference) / base, [2.5, 97.5])
    assert [row["difference_low"], row["difference_high"]] == pytest.approx(paired.tolist())


def test_pairing_narrows_the_interval_of_the_difference(made) -> None:
    _, _, frame = made
    row, reference = (cell(frame, name, "0.6", "overall") for name in ("hawk-permuted", "hawk-uniform"))
    unpaired = np.hypot(row["ci_high"] - row["ci_low"], reference["ci_high"] - reference["ci_low"])
    assert row["difference_high"] - row["difference_low"] < unpaired


def test_one_declared_family_and_verdicts_by_holm_alone(made) -> None:
    _, config, frame = made
    tested = frame[frame["p_value"].notna()]
    variants = len(config["evaluation"]["variants"]) - 1
    assert len(tested) == variants * 2 * (len(BENCHMARKS) + 1)
    assert "hawk-uniform" not in set(tested["variant"])
    np.testing.assert_allclose(tested["p_adjusted"], statistics.holm(tested["p_value"]))
    expected = [
        "—" if p >= 0.05 else ("better" if d > 0 else "worse")
        for p, d in zip(tested["p_adjusted"], tested["difference"], strict=True)
    ]
    assert tested["verdict"].tolist() == expected
    assert {"worse", "—"} <= set(expected)
    # Some interval leaves 0 out although nothing is claimed: intervals are not the rule.
    clear = (tested["difference_low"] > 0) | (tested["difference_high"] < 0)
    assert (clear & (tested["verdict"] == "—")).any()
    assert frame[frame["p_value"].isna()]["verdict"].isna().all()


def test_baseline_majority_and_blind_rows(made) -> None:
    root, _, frame = made
    for name in [*BENCHMARKS, "overall"]:
        assert cell(frame, "baseline", "0", name)["retention"] == pytest.approx(100.0)
        values = frame[(frame["variant"] == "blind") & (frame["benchmark"] == name)]["native_value"]
        assert len(values) == 2
        assert values.nunique() == 1
    samples = pd.read_parquet(RunPaths(root).samples("evaluation", "toy"))
    share = samples["references"].map(lambda one: one[0]).value_counts(normalize=True).iloc[0]
    row = cell(frame, "majority", None, "toy")
    assert row["native_value"] == pytest.approx(100 * share)
    assert (row["kept_tokens"], row["unparsed"]) == (0, 0)
    assert read_retention(root)[1]["majority_answer"]["toy"] == "yes"


def test_published_numbers_stand_beside_ours(made) -> None:
    _, _, frame = made
    assert cell(frame, "hawk-zero", "0.8", "toy")["published"] == 71.5
    assert cell(frame, "hawk-zero", "0.8", "overall")["published"] == 91.0
    assert cell(frame, "baseline", "0", "toy")["published"] == 80.0
    assert cell(frame, "random", "0.6", "toy")["published"] == 66.0
    assert frame["published"].notna().sum() == 4  # each beside its own variant and ratio alone


def test_calibrated_variants_against_every_control(made) -> None:
    root, _, frame = made
    controls = read_controls(root)
    assert set(controls["variant"]) == {"hawk-zero"}
    assert set(controls["control"]) == {"hawk-uniform", "hawk-permuted", "random", "blind"}
    for row in controls.to_dict("records"):
        ratio = row["pruning_ratio"]
        ours, other = (cell(frame, row[key], ratio, "overall")["retention"] for key in ("variant", "control"))
        assert row["difference"] == pytest.approx(ours - other)
        assert row["difference_low"] < row["difference"] < row["difference_high"]
    own = controls[(controls["control"] == "hawk-uniform") & (controls["pruning_ratio"] == "0.8")].iloc[0]
    tested = cell(frame, "hawk-zero", "0.8", "overall")
    for key in ("difference_low", "difference_high"):
        assert own[key] == pytest.approx(tested[key])


@pytest.mark.parametrize(
    ("variant", "control", "calibrated"),
    [
        ({"method": "hawk", "weights": "zero"}, False, True),
        ({"method": "hawk", "weights": "data/head_weights/x.json"}, False, True),
        ({"method": "hawk"}, True, False),
        ({"method": "hawk", "weights": "zero", "permute": True}, True, False),
        ({"method": "hawk", "weights": "zero", "shuffle_query": True}, True, False),
        ({"method": "hawk", "weights": "zero", "rope": True}, True, False),
        ({"method": "grid"}, True, False),
        ({"method": "divprune"}, False, False),
    ],
)
def test_what_is_a_control(variant: dict[str, Any], control: bool, calibrated: bool) -> None:
    assert (is_control(variant), is_calibrated(variant)) == (control, calibrated)


def test_no_reference_means_no_tests(copy) -> None:
    root, config = copy
    del config["evaluation"]["reference"]
    make_tables(config, root)
    frame, _ = read_retention(root)
    assert frame["p_value"].isna().all()
    assert frame["verdict"].isna().all()
    assert frame["retention"].notna().all()


def test_the_same_input_gives_the_same_table(copy) -> None:
    root, config = copy
    path = RunPaths(root).table("retention", "parquet")
    before = files.digest(path)
    make_tables(config, root)
    assert files.digest(path) == before


def test_ratios_are_one_however_they_are_written() -> None:
    assert {ratio_text(one) for one in (0.8, "0.8", "0.80")} == {"0.8"}
    assert ratio_text(0) == ratio_text("0.0") == "0"
    assert ratio_text(0.6050) == "0.605"
    assert ratio_text("0.0001") == "0.0001"


# --- refusals ---------------------------------------------------------------------------------------


def test_another_budget_is_an_error_naming_variant_sample_and_counts(copy) -> None:
    root, config = copy

    def one_more(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[(frame["sample_id"] == "toy-evaluation-0005"), "kept_tokens"] += 1
        return frame

    change(RunPaths(root).evaluation("toy", "divprune"), one_more)
    with pytest.raises(InputError, match=r"'divprune' keeps 27 .*'toy-evaluation-0005'.*keeps 26 \(of 64\)"):
        make_tables(config, root)


@pytest.mark.parametrize(("name", "allowed"), [("blind", 0), ("divprune", 26)])
def test_a_variant_alone_keeps_what_its_ratio_leaves(copy, name, allowed) -> None:
    """Beside no other there is nothing that it must equal; blind is never beside one."""
    root, config = copy
    config = deepcopy(config)
    evaluation = config["evaluation"]
    evaluation["variants"] = [one for one in evaluation["variants"] if one["name"] == name]
    evaluation |= {"reference": name, "published": {}}
    rules = {"rounding": "ceil", "budget": "pooled", "position_policy": "keep"}
    for benchmark in BENCHMARKS:
        change(RunPaths(root).evaluation(benchmark, name), lambda frame: frame, rules=rules)
    read_evaluation(config, str(root))
    path = RunPaths(root).evaluation("toy", name)
    change(path, lambda frame: frame.assign(kept_tokens=9), rules=rules)
    said = f"{path}, ratio 0.6: 9 visual tokens .*; of its 64 method '{name}' keeps {allowed}\\."
    with pytest.raises(InputError, match=said):
        read_evaluation(config, str(root))


def test_blind_is_no_part_of_the_budget_but_seeds_are(copy) -> None:
    root, config = copy

    def second_seed(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame["seed"] == 1, "kept_tokens"] -= 1
        frame.loc[frame["seed"] == 2, "kept_tokens"] += 1  # the mean over seeds is right again
        return frame

    change(RunPaths(root).evaluation("toy", "random"), second_seed)
    with pytest.raises(InputError, match="'random' keeps 25 or 26 or 27 visual tokens"):
        make_tables(config, root)


@pytest.mark.parametrize("key", ["rounding", "budget", "position_policy"])
def test_another_rule_of_pruning_is_not_compared(copy, key) -> None:
    root, config = copy
    rules = {"rounding": "ceil", "budget": "pooled", "position_policy": "keep"}
    for name in ("divprune", "random"):
        change(RunPaths(root).evaluation("toy", name), lambda frame: frame, rules=rules)
    make_tables(config, root)
    other = {**rules, key: "other"}
    change(RunPaths(root).evaluation("toy", "random"), lambda frame: frame, rules=other)
    with pytest.raises(InputError, match=f"{key} '{rules[key]}', but .*random.parquet has 'other'"):
        make_tables(config, root)


@pytest.mark.parametrize("part", ["nothing", "single benchmarks"])
def test_a_table_without_its_overall_rows_is_refused(copy, part) -> None:
    """Cut by hand, or by a tool: rankings and figures ended in a traceback."""
    root, _ = copy
    path = RunPaths(root).table("retention", "parquet")
    table = files.read_table(path, RETENTION)
    rows = table.to_pandas()
    rows = rows[:0] if part == "nothing" else rows[rows["benchmark"] != "overall"]
    files.write_table(path, rows, RETENTION, files.provenance_of(table, path))
    with pytest.raises(InputError, match="retention.parquet: it has no row over all benchmarks"):
        read_retention(root)


def test_blind_needs_to_be_measured_only_once(copy, made) -> None:
    root, config = copy
    for name in BENCHMARKS:
        path = RunPaths(root).evaluation(name, "blind")
        change(path, lambda frame: frame[frame["pruning_ratio"] == "0.6"])
    make_tables(config, root)
    pd.testing.assert_frame_equal(read_retention(root)[0], made[2])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda f: f[f["pruning_ratio"] != "0.8"], "no rows for ratio 0.8; it has 0.6"),
        (lambda f: f[f["seed"] != 2], r"has 2 seeds; variant 'random' has seeds: 3"),
        (lambda f: f[f["sample_id"] != "toy-evaluation-0003"], "1 missing, the first 'toy-evaluation-0003'"),
    ],
)
def test_incomplete_evaluations_are_refused(copy, edit, said: str) -> None:
    root, config = copy
    change(RunPaths(root).evaluation("toy", "random"), edit)
    with pytest.raises(InputError, match=said):
        make_tables(config, root)


def test_two_protocols_are_not_compared(copy) -> None:
    root, config = copy
    path = RunPaths(root).evaluation("pairs", "divprune")
    change(path, lambda frame: frame, protocol="lmms-eval")
    with pytest.raises(InputError, match=r"divprune.parquet: protocol 'lmms-eval', but .*baseline"):
        make_tables(config, root)


def test_an_image_twice_moves_together(copy) -> None:
    """Two benchmarks with the same images and answers are worth no more than one."""
    root, config = copy
    config["evaluation"]["benchmarks"] = ["toy", "shared"]
    for variant in [None, *(one["name"] for one in config["evaluation"]["variants"])]:
        paths = RunPaths(root)
        files = [
            paths.baseline(name, "evaluation") if variant is None else paths.evaluation(name, variant)
            for name in ("toy", "shared")
        ]
        toy = pd.read_parquet(files[0])
        schema = schemas.SCORES if variant is None else schemas.EVALUATION
        ids = toy["sample_id"].str.replace("toy", "shared")
        change(files[1], lambda _, toy=toy, ids=ids: toy.assign(sample_id=ids), schema)
    make_tables(config, root)
    frame, _ = read_retention(root)
    one, both = (cell(frame, "random", "0.8", name) for name in ("toy", "overall"))
    assert both["retention"] == pytest.approx(one["retention"])
    assert both["ci_high"] - both["ci_low"] == pytest.approx(one["ci_high"] - one["ci_low"], rel=0.2)
    # The same coin per image: the overall p is that of one benchmark, up to the drawn flips.
    assert both["p_value"] == pytest.approx(one["p_value"], abs=0.01)


# --- what happened ----------------------------------------------------------------------------------


def test_what_happened_equals_a_literal_count_and_is_marked(copy) -> None:
    """Answers that go on, first words and token 0, of files in which they are as drawn here."""
    root, config = copy
    paths, rng = RunPaths(root), np.random.default_rng(3)
    drawn: dict[str, pd.DataFrame] = {}

    def edit(name: str, share: float) -> Any:
        def draw(frame: pd.DataFrame) -> pd.DataFrame:
            drawn[name] = frame.assign(
                stopped=rng.random(len(frame)) > share,
                first_word_score=np.where(rng.random(len(frame)) < 0.2, np.nan, rng.random(len(frame))),
                keeps_token_0=rng.random(len(frame)) < 0.3,
            )
            return drawn[name]

        return draw

    for name in BENCHMARKS:
        change(paths.evaluation(name, "random"), edit(name, 0.25))
    literal = Literal(root, config, "toy")
    base = literal.rows("baseline", "")["first_word_score"].mean()
    make_tables(config, root)
    frame, settings = read_retention(root)
    for name in BENCHMARKS:
        part = drawn[name][drawn[name]["pruning_ratio"] == "0.8"]
        row = cell(frame, "random", "0.8", name)
        assert row["not_stopped"] == pytest.approx(100 * (~part["stopped"]).mean())
        assert row["keeps_token_0"] == pytest.approx(100 * part["keeps_token_0"].mean())
    part = drawn["toy"][drawn["toy"]["pruning_ratio"] == "0.8"]
    toy = cell(frame, "random", "0.8", "toy")
    words = part["first_word_score"]
    assert toy["first_word_retention"] == pytest.approx(100 * words.dropna().mean() / base)
    assert toy["first_word_retention"] != pytest.approx(100 * words.fillna(0).mean() / base)
    overall = cell(frame, "random", "0.8", "overall")
    for key in ("not_stopped", "keeps_token_0", "first_word_retention"):
        assert overall[key] == pytest.approx(
            np.mean([cell(frame, "random", "0.8", name)[key] for name in BENCHMARKS])
        )
    text = text_table(frame, "overall", settings)
    assert ["†" in line for line in text.splitlines() if line.startswith("random")] == [True, True]
    assert not any("†" in line for line in text.splitlines() if line.startswith("hawk-zero"))
    assert "† 1 % or more of the answers do not stop." in text
    assert "†" not in text_table(read_retention(copy[0])[0].assign(not_stopped=0.9), "overall", settings)
    markdown = Path(paths.table("retention", "md")).read_text(encoding="utf-8")
    assert sum("| does not stop" in line for line in markdown.splitlines() if "| random |" in line) == 8


def test_at_the_floor_is_what_retains_no_more_than_the_majority_answer(copy) -> None:
    root, config = copy
    for name in BENCHMARKS:
        path = RunPaths(root).samples("evaluation", name)
        references = [["yes"] if i % 10 else ["no"] for i in range(64)]  # "yes" is right nine times in ten
        change(path, lambda frame, r=references: frame.assign(references=r), schemas.SAMPLES)
    make_tables(config, root)
    frame, _ = read_retention(root)
    found = set()
    for name in ["overall", *BENCHMARKS]:
        floor = cell(frame, "majority", None, name)["retention"]
        for row in frame[frame["benchmark"] == name].to_dict("records"):
            own = row["variant"] not in ("baseline", "majority")
            assert row["at_floor"] == (row["retention"] <= floor if own else None)
            found.add(row["at_floor"])
    assert found == {True, False, None}
    assert "‡ retains no more than always giving" in " ".join(text_table(frame, "overall").split())


def test_fewer_samples_than_asked_for_stand_in_every_table(copy) -> None:
    root, config = copy
    paths = RunPaths(root)
    for name, asked in (("toy", 70), ("shared", 64), ("pairs", None)):
        change(paths.samples("evaluation", name), lambda frame: frame, schemas.SAMPLES, requested=asked)
    make_tables(config, root)
    frame, settings = read_retention(root)
    assert cell(frame, "random", "0.8", "toy")["requested"] == 70
    assert np.isnan(cell(frame, "random", "0.8", "pairs")["requested"])
    assert np.isnan(cell(frame, "random", "0.8", "overall")["requested"])  # of pairs all were asked for
    assert text_table(frame, "overall", settings).endswith("Fewer samples than asked for: toy 64 of 70.")
    markdown = Path(paths.table("retention", "md")).read_text(encoding="utf-8")
    assert markdown.count("64 of the 70 samples asked for, 32 images.") == 1
    assert markdown.count("64 samples, 32 images.") == 2


# --- words ------------------------------------------------------------------------------------------


def test_csv_and_markdown_say_the_same_as_the_parquet(made) -> None:
    root, _, frame = made
    with open(RunPaths(root).table("retention", "csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(frame)
    assert list(rows[0]) == RETENTION.names
    for ours, theirs in zip(frame.to_dict("records"), rows, strict=True):
        assert ours["variant"] == theirs["variant"]
        assert ours["retention"] == pytest.approx(float(theirs["retention"]))
    text = Path(RunPaths(root).table("retention", "md")).read_text(encoding="utf-8")
    row = cell(frame, "hawk-zero", "0.8", "overall")
    numbers = f"{number(row['points'])} | {number(row['retention'])}"
    assert f"| hawk-zero | 0.8 | 13.0 of 64.0 | {numbers} |" in text
    assert "adjusted by Holm over all 40 comparisons" in text
    assert all(f"## {name}" in text for name in ["overall", *BENCHMARKS])
    assert pq.read_schema(RunPaths(root).table("controls", "parquet")).names == CONTROLS.names


def test_the_terminal_table_fits_and_is_ordered(made) -> None:
    root, _, _ = made
    frame, settings = read_retention(root)
    lines = text_table(frame, "overall", settings).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("baseline")
    unmarked = [line.replace("‡", " ").split() for line in lines[2:14]]
    assert sum("‡" in line for line in lines[2:14]) == frame[frame.benchmark == "overall"].at_floor.sum() > 0
    ratios = [words[1] for words in unmarked]
    assert ratios == sorted(ratios)
    retention = [float(words[3]) for words in unmarked[:6]]
    assert retention == sorted(retention, reverse=True)
    assert "Holm over 40" in " ".join(lines[-3:])
    wide = frame.assign(variant=frame["variant"] + "-with-a-very-long-name")
    wide[["difference", "difference_low", "difference_high"]] *= -10.0
    lines = text_table(wide, "overall").splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.endswith(("better", "worse", "—")) for line in lines) == 10


@pytest.mark.parametrize(("value", "text"), [(-0.04, "0.0"), (1.25, "1.2"), (None, ""), (float("nan"), "")])
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text
