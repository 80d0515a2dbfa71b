"""`hawk score` counts every question once, complete groups alone, and of the benchmark that is named."""

from __future__ import annotations

import json
import logging

import hub_rows
import pandas as pd
import pytest
from factories import stored_row
from hub_rows import PERFECT
from test_one_form import samples_of, without_image

from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import checked, to_row
from hawk.core.errors import InputError
from hawk.core.files import write_table
from hawk.core.schemas import SAMPLES, SCORES
from hawk.tools.rescore import score_predictions


def scored(lines, name, tmp_path, protocol="vlmevalkit", **options):
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    (found,) = score_predictions(name, protocol, path, **options)
    return found


def lines_of(name):
    return [{**row, "prediction": text} for row, text in zip(without_image(name), PERFECT[name], strict=True)]


# --- every question once -------------------------------------------------------------------------------
@pytest.mark.parametrize("column", ["sample_id", "index", "question_id", "id"])
def test_a_question_that_occurs_twice_is_refused_by_its_id(column, tmp_path):
    line = {"references": ["yes"], "prediction": "yes"}
    lines = [{**line, column: "q1"}, {**line, column: "q2", "prediction": "no"}]
    assert scored(lines, "gqa", tmp_path)["value"] == 50.0
    with pytest.raises(InputError, match=r"lines.jsonl: 'q1' more than once"):
        scored([*lines, lines[0]], "gqa", tmp_path)


@pytest.mark.parametrize(
    "name", ["textvqa", "gqa", "pope", "hallusionbench", "mmstar", "videomme", "mmbench"]
)
def test_doubled_rows_of_a_table_are_refused(name, tmp_path):
    lines = lines_of(name)
    scored(lines, name, tmp_path)
    with pytest.raises(InputError, match="more than once"):
        scored([*lines, lines[1]], name, tmp_path)


def test_the_same_question_id_in_other_categories_is_another_question(tmp_path):
    assert scored(lines_of("pope"), "pope", tmp_path)["rows"] == 6


def realworldqa(count):
    question = (
        "Is it day?\n\nA. Yes\nB. No\nPlease answer directly with only the letter of the correct option"
    )
    return [
        {"question": f"{question} {number}", "answer": "AB"[number % 2], "prediction": "A"}
        for number in range(count)
    ]


def test_rows_without_an_id_that_are_more_than_the_benchmark_has(tmp_path):
    rows = realworldqa(765)
    assert scored(rows, "realworldqa", tmp_path)["value"] == pytest.approx(100 * 383 / 765)
    right = [row for row in rows if row["answer"] == "A"][:300]
    with pytest.raises(InputError, match="row 765 is row 0 again, and 299 more like it"):
        scored([*rows, *right], "realworldqa", tmp_path)


def test_rows_without_an_id_that_name_their_image(tmp_path):
    rows = [{**row, "image_path": f"{number}.webp"} for number, row in enumerate(realworldqa(4))]
    assert scored(rows, "realworldqa", tmp_path)["value"] == 50.0
    with pytest.raises(InputError, match="row 4 is row 2 again"):
        scored([*rows, rows[2]], "realworldqa", tmp_path)


def test_rows_without_an_id_that_name_their_video(tmp_path):
    lines = lines_of("mlvu")
    scored(lines, "mlvu", tmp_path)
    with pytest.raises(InputError, match="row 2 is row 1 again"):
        scored([*lines, lines[1]], "mlvu", tmp_path)


def test_equal_rows_about_images_that_are_not_named_are_said(tmp_path, caplog):
    rows = realworldqa(2)
    with caplog.at_level(logging.WARNING):
        scored([*rows, rows[0]], "realworldqa", tmp_path)
    assert "row 2 is row 0 again" in caplog.text


@pytest.mark.parametrize("ending", ["tsv", "xlsx"])
def test_a_doubled_index_of_a_result_file(ending, tmp_path):
    rows = [
        {"index": number, "question": "?", "answer": "yes", "prediction": text}
        for number, text in ((1, "yes"), (2, "no"), (1, "yes"))
    ]
    path = tmp_path / f"file.{ending}"
    table = pd.DataFrame(rows)
    table.to_excel(path, index=False) if ending == "xlsx" else table.to_csv(path, sep="\t", index=False)
    with pytest.raises(InputError, match="'1' more than once"):
        score_predictions("gqa", "vlmevalkit", path)


def ours(tmp_path, name, rows, written_for=None, protocol="vlmevalkit"):
    folder = hub_rows.write(name, tmp_path / name)
    samples = list(benchmark(name, {"path": str(folder)}).load())
    identity = {"role": "evaluation", "benchmark": written_for or name}
    table = [to_row(one) for one in samples]
    write_table(tmp_path / "samples.parquet", table, SAMPLES, {"identity": identity})
    scores = [stored_row(samples[number].sample_id, text) for number, text in rows]
    settings = {"protocol": protocol}
    write_table(tmp_path / "scores.parquet", scores, SCORES, {"identity": identity, "settings": settings})
    return tmp_path / "scores.parquet", tmp_path / "samples.parquet"


def test_a_doubled_sample_of_our_parquet(tmp_path):
    path, samples = ours(tmp_path, "gqa", [(0, "yes"), (1, "yes")])
    assert score_predictions("gqa", None, path, samples=samples)[0]["value"] == 50.0
    path, samples = ours(tmp_path, "gqa", [(0, "yes"), (1, "yes"), (0, "yes")])
    with pytest.raises(InputError, match=r"row 2 \(sample '20240'\) occurs twice"):
        score_predictions("gqa", None, path, samples=samples)


# --- complete groups -----------------------------------------------------------------------------------
def test_mmbench_with_one_copy_of_each_question(tmp_path):
    """All copies right but the last of one question: it is wrong; without the row all are right."""
    lines = lines_of("mmbench")
    lines[6]["prediction"] = "A"
    assert scored(lines, "mmbench", tmp_path)["value"] == 50.0
    with pytest.raises(InputError, match=r"metric group '252' lacks 3000252; it has 252, 1000252, 2000252"):
        scored(lines[:6], "mmbench", tmp_path)
    with pytest.raises(InputError, match=r"metric group '241' lacks 1000241, 2000241"):
        scored([lines[0], *lines[3:]], "mmbench", tmp_path)


@pytest.mark.parametrize("ending", ["tsv", "xlsx"])
def test_an_option_that_is_read_back_as_nothing_takes_no_copy_away(ending, tmp_path):
    """The option "None" is an empty cell, and in one copy the last."""
    path = tmp_path / f"file.{ending}"
    table = pd.DataFrame(lines_of("mmbench")[3:])
    table.to_excel(path, index=False) if ending == "xlsx" else table.to_csv(path, sep="\t", index=False)
    assert score_predictions("mmbench", "vlmevalkit", path)[0]["value"] == 100.0


def test_a_table_of_mmbench_that_lacks_a_copy_is_refused_before_it_is_asked(tmp_path, monkeypatch):
    file, rows_of = hub_rows.TABLES["mmbench"][0]
    monkeypatch.setitem(hub_rows.TABLES, "mmbench", [(file, lambda: rows_of()[:6])])
    folder = hub_rows.write("mmbench", tmp_path / "rows")
    with pytest.raises(InputError, match="metric group '252' lacks 3000252"):
        list(benchmark("mmbench", {"path": str(folder)}).load())


def test_a_hallusionbench_set_without_its_wrong_row(tmp_path):
    """Two figures, two questions, one of four wrong: aAcc 75, fAcc 50, qAcc 50; without it, 100."""
    lines = lines_of("hallusionbench")[:4]
    lines[3]["prediction"] = "Yes"
    found = scored(lines, "hallusionbench", tmp_path)
    assert found["value"] == pytest.approx((75 + 50 + 50) / 3)
    with pytest.raises(InputError, match=r"metric group 'VD_chart_0' lacks VD_chart_0_1_1; it has "):
        scored(lines[:3], "hallusionbench", tmp_path)
    with pytest.raises(InputError, match=r"lacks VD_chart_0_0_1"):  # a question's number is skipped
        scored([{**lines[0]}, {**lines[1], "question_id": "2"}], "hallusionbench", tmp_path)


def test_a_group_that_says_its_size_is_taken_at_its_word(tmp_path):
    line = {
        "sample_id": "0_VD_chart_0_0_0",
        "references": ["Yes"],
        "prediction": "Yes",
        "category": "VD > VD_chart",
    }
    whole = {**line, "metric_group": "VD_chart_0#1"}
    assert scored([whole], "hallusionbench", tmp_path)["value"] == 100.0
    with pytest.raises(InputError, match="'VD_chart_0#2' has 1 of its 2 rows"):
        scored([{**line, "metric_group": "VD_chart_0#2"}], "hallusionbench", tmp_path)


# --- in the table that is asked ------------------------------------------------------------------------
def loaded(name, tmp_path, monkeypatch, change):
    """The samples of the fixture's table with other rows, as the step that prepares them takes them."""
    file, rows_of = hub_rows.TABLES[name][0]
    rows = change(rows_of())
    monkeypatch.setitem(hub_rows.TABLES, name, [(file, lambda: rows), *hub_rows.TABLES[name][1:]])
    return checked(benchmark(name), samples_of(name, tmp_path))


def doubled(rows):
    return [*rows, rows[1]]


@pytest.mark.parametrize("name", sorted(hub_rows.TABLES))
def test_a_doubled_row_of_a_table_is_not_asked_twice(name, tmp_path, monkeypatch):
    """By its id; where the table has none, by all that it holds, its image included."""
    bench = type(benchmark(name))
    monkeypatch.setattr(bench, "published_rows", len(PERFECT[name]))
    assert loaded(name, tmp_path / "whole", monkeypatch, list)
    with pytest.raises(InputError, match=r"occurs twice|is '1' again; every question|has [23] of its 2 rows"):
        loaded(name, tmp_path / "doubled", monkeypatch, doubled)


def test_equal_rows_of_a_part_of_a_table_are_said(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        assert len(loaded("ai2d", tmp_path / "whole", monkeypatch, list)) == 4
        assert "again" not in caplog.text
        assert len(loaded("ai2d", tmp_path / "doubled", monkeypatch, doubled)) == 5
    assert "benchmark 'ai2d': sample '4' is '1' again; each counts as another question" in caplog.text


def test_the_same_question_about_another_image_is_another(tmp_path, monkeypatch, caplog):
    def about_another(rows):
        return [*rows, {**rows[1], "image": rows[0]["image"]}]

    monkeypatch.setattr(type(benchmark("chartqa")), "published_rows", 4)
    assert len(loaded("chartqa", tmp_path, monkeypatch, about_another)) == 5
    assert "again" not in caplog.text


@pytest.mark.parametrize("place", [0, 1, -1])
def test_half_a_pair_of_mme_is_refused_before_it_is_asked(place, tmp_path, monkeypatch):
    def without(rows):
        return [row for row in rows if row is not rows[place]]

    with pytest.raises(InputError, match=r"metric group '\w+/\w+/\d+.png#2' has 1 of its 2 rows"):
        loaded("mme", tmp_path, monkeypatch, without)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_set_of_hallusionbench_that_lacks_a_row_is_refused_before_it_is_asked(place, tmp_path, monkeypatch):
    def without(rows):
        return [row for row in rows if row is not rows[place]]

    with pytest.raises(InputError, match=r"metric group 'VD_chart_0' lacks VD_chart_0_\d_\d; it has "):
        loaded("hallusionbench", tmp_path, monkeypatch, without)


# --- what a file says about itself -----------------------------------------------------------------------
def test_predictions_for_another_benchmark(tmp_path):
    path, samples = ours(tmp_path, "gqa", [(0, "yes"), (1, "yes")])
    for other in ("textvqa", "mme"):
        with pytest.raises(InputError, match=rf"predictions for benchmark 'gqa'; --benchmark is '{other}'"):
            score_predictions(other, None, path, samples=samples)
    _, foreign = ours(tmp_path / "other", "chartqa", [(0, "14")])
    with pytest.raises(InputError, match="samples of benchmark 'chartqa'; the predictions are of 'gqa'"):
        score_predictions("gqa", None, path, samples=foreign)


def test_pope_s_category_and_answer_agree(tmp_path):
    line = {"sample_id": "1", "prediction": "Yes", "references": ["yes"]}
    lines = [
        {**line, "sample_id": name, "category": f"{name} > Yes"}
        for name in ("adversarial", "popular", "random")
    ]
    found = scored(lines, "pope", tmp_path)
    assert (found["value"], found["report"]["Overall"]["acc"]) == (100.0, 100.0)
    with pytest.raises(InputError, match="the answer is 'Yes', but the category says 'No'"):
        scored([{**line, "category": "random > No"}], "pope", tmp_path)


# --- a harness's result file -----------------------------------------------------------------------------
@pytest.mark.parametrize("ending", ["tsv", "xlsx"])
@pytest.mark.parametrize("extra", [{}, {"l2_category": "d"}])
def test_a_right_option_that_is_read_back_as_nothing_scores_0(ending, extra, tmp_path):
    base = {"question": "Where?", "category": "c", **extra, "A": "left", "B": "right", "C": "None", "D": "up"}
    rows = [("A", "left"), ("C", "C"), ("C", "None of them"), ("D", "D. up")]
    table = pd.DataFrame(
        [{"index": i, **base, "answer": answer, "prediction": text} for i, (answer, text) in enumerate(rows)]
    )
    path = tmp_path / f"file.{ending}"
    table.to_excel(path, index=False) if ending == "xlsx" else table.to_csv(path, sep="\t", index=False)
    (found,) = score_predictions("mmstar", "vlmevalkit", path, rows=tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["score"] for row in rows] == [1.0, 0.0, 0.0, 1.0]
    assert rows[0]["options"] == ["left", "right", "", "up"]
    assert found["value"] == 50.0


def test_the_same_row_by_hand_is_refused(tmp_path):
    line = {"options": ["left", "right", None, "up"], "references": ["C"], "prediction": "C"}
    with pytest.raises(InputError, match="sample '0': answer 'C' is none of the 3 options"):
        scored([line], "mmstar", tmp_path)


# --- what is no prediction and no reference ----------------------------------------------------------------
@pytest.mark.parametrize("value", ["[]", "null", "3", '{"a": 1}', "[[1]]", "[{}]", "NaN", "true", "[true]"])
def test_references_that_are_none(value, tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(f'{{"sample_id": "1", "prediction": "yes", "references": {value}}}')
    for name in ("gqa", "ai2d", "digits"):
        with pytest.raises(InputError, match=r"line 1: references is .*; a list of texts is allowed"):
            score_predictions(name, "vlmevalkit", path)


@pytest.mark.parametrize("value", ["NaN", "null", "true", "[]", "{}"])
def test_predictions_that_are_none(value, tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(f'{{"sample_id": "1", "prediction": {value}, "references": ["yes"]}}')
    with pytest.raises(InputError, match="line 1: needs an object with a text 'prediction'"):
        score_predictions("gqa", "vlmevalkit", path)


def test_a_missing_prediction_of_our_parquet(tmp_path):
    path, samples = ours(tmp_path, "gqa", [(0, "yes"), (1, None)])
    with pytest.raises(InputError, match=r"row 1 \(sample '20241'\) has prediction None; it must be text"):
        score_predictions("gqa", None, path, samples=samples)


JUNK = [None, 3, 1.5, True, [], {}, [None], {"a": [1]}, "nan", "[", "[]", "\0", "x" * 200, [["a"]], "None"]


@pytest.mark.parametrize("name", [*PERFECT, "digits", "easy_vqa"])
def test_no_cell_of_a_line_gives_a_traceback(name, tmp_path, monkeypatch):
    """Every cell of a good line replaced by junk: a score, or one line that says what is wrong."""
    monkeypatch.setattr("hawk.tools.rescore.write_text", lambda *a: None)
    lines = (
        lines_of(name)
        if name in PERFECT
        else [{"sample_id": "1", "references": ["yes"], "prediction": "yes"}]
    )
    columns = [
        *lines[0],
        "sample_id",
        "references",
        "options",
        "category",
        "metric_group",
        "question",
        "index",
    ]
    path, messages = tmp_path / "lines.jsonl", []
    for column in dict.fromkeys(columns):
        for value in JUNK:
            path.write_text("\n".join(json.dumps(line) for line in [{**lines[0], column: value}, *lines[1:]]))
            for protocol in benchmark(name).protocols[-1:]:
                try:
                    score_predictions(name, protocol, path)
                except InputError as error:
                    messages.append(str(error))
    assert messages
    assert not [one for one in messages if "\n" in one]
