"""Scoring rules by cases that were worked out by hand from the rules' wording, one line each.

The worked cases of the harnesses are in test_metric_cases.py; here are the corners between them, and
the forms in which rows of predictions may come.
"""

from __future__ import annotations

import json

import pandas as pd
import pytest

from hawk.benchmarks import benchmark
from hawk.benchmarks.base import Sample
from hawk.benchmarks.rules.choices import infer_option
from hawk.benchmarks.rules.metrics import yes_or_no
from hawk.benchmarks.rules.normalise import evalai_text, vqa_text
from hawk.benchmarks.rules.protocols import LMMS_EVAL, MS_VLMEVAL, VLMEVALKIT
from hawk.core.errors import InputError
from hawk.tools.rescore import score_predictions

VK, MS, LM = VLMEVALKIT, MS_VLMEVAL, LMMS_EVAL
FRUIT = ("apple", "banana", "cherry", "date")  # 21 letters: answers up to 42 are searched for them
FORMULA = "Handwritten Mathematical Expression Recognition"


@pytest.mark.parametrize(
    ("text", "vlmevalkit", "lmms_eval"),
    [
        ("The  Two\tcats.", "2 cats", "2 cats"),
        ("1,000", "1000", "1000"),
        ("a-b 1,000", "ab 1000", "b 1000"),  # a thousand's comma: marks vanish; lmms-eval drops it before
        ("yes/no", "yes no", "yes no"),
        ("yes / no", "yes no", "yes no"),
        ("3.5", "3.5", "3.5"),
        (".5", ".5", ".5"),
        ("3.a", "3.a", "3a"),
        ("7.", "7.", "7"),  # a period behind a digit stays in VLMEvalKit
        ("a.b", "ab", "ab"),
        ("dont", "don't", "don't"),
        ("it's", "it's", "it 's"),
        ("none", "0", "0"),
        ("Eleven", "eleven", "eleven"),
        ("an A", "", ""),
        ("well-known", "well known", "well known"),
        ("hello, world", "hello world", "hello world"),
        ("hello,world", "hello world", "helloworld"),
    ],
)
def test_forms_of_an_answer(text, vlmevalkit, lmms_eval):
    assert (vqa_text(text), evalai_text(text)) == (vlmevalkit, lmms_eval)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("NO!", "No"),
        ("no,thanks", "No"),
        ('"Yes"', "Yes"),
        ("(yes)", "Yes"),
        ("yes\nno", "Unknown"),
        ("yes_no", "Unknown"),
        ("Yes;No", "Unknown"),
        ("none", "Unknown"),
        ("1,000 yes-men", "Unknown"),  # marks vanish: yesmen
        ("yes-men", "Yes"),
        ("", "Unknown"),
    ],
)
def test_yes_or_no(text, word):
    assert yes_or_no(text) == word


@pytest.mark.parametrize(
    ("text", "vlmevalkit", "plain"),
    [
        ("(B)", "B", "B"),
        ("Answer: C", "C", "C"),
        ("b", None, None),
        ("B banana and not cherry", None, "B"),  # five words, B the first; two option texts
        ("A banana is shown here", "B", "A"),
        ("It could be A or it could be B", None, None),
        ("Cannot determine the answer, A", "Z", "Z"),
        ("cannot determine the answer, A", "A", "A"),
        ("The answer is b", "B", None),
        ("The answer is a date", "A", "D"),  # "answer is X" looks at one letter, in either case
        ("My correct answer  is **C** as one sees in it", "C", "C"),  # asterisks become spaces first
        ("My correct answer is -C- as one sees in it", None, None),  # other marks do not
        ("A, since the answer is D by far and more", "D", None),
        ("Z", "Z", "Z"),
        ("Failed to obtain answer via API. B", None, None),
        ("this shows a banana", "B", "B"),
        ("it must be a banana, or so it looks to me, if ripe", None, "B"),  # 50 letters
        ("BANANA", "B", "B"),
    ],
)
def test_which_option(text, vlmevalkit, plain):
    options = dict(zip("ABCD", FRUIT, strict=True))
    assert (infer_option(text, options), infer_option(text, options, plain=True)) == (vlmevalkit, plain)


def test_an_option_inside_another_cannot_be_told():
    assert infer_option("12", {"A": "1", "B": "2", "C": "12"}) is None
    assert infer_option("2", {"A": "1", "B": "2", "C": "12"}) == "B"


ITEMS = [
    # ChartQA: tolerance 5 % of the target, of the prediction in ms-vlmeval; the edge belongs to it
    ("chartqa", "95", "100", {VK: 1, MS: 0, LM: 1}),
    ("chartqa", "105", "100", {VK: 1, MS: 1, LM: 1}),
    ("chartqa", "105.2", "100", {VK: 0, MS: 1, LM: 0}),
    ("chartqa", "-95", "-100", {VK: 1, MS: 0, LM: 1}),
    ("chartqa", "5%", "0.05", {VK: 1, MS: 1, LM: 1}),
    ("chartqa", "5", "5%", {VK: 0, MS: 0, LM: 0}),
    ("chartqa", "100 %", "1", {VK: 1, MS: 1, LM: 1}),
    ("chartqa", "0", "0", {VK: 1, MS: 1, LM: 1}),
    ("chartqa", "0.0", "0", {VK: 0, MS: 0, LM: 0}),
    ("chartqa", "0.001", "0", {VK: 0, MS: 0, LM: 0}),
    ("chartqa", "0", "100", {VK: 0, MS: 0, LM: 0}),
    ("chartqa", "2018", "1950", {VK: 1, MS: 1, LM: 1}),
    ("chartqa", "1,000", "1000", {VK: 0, MS: 0, LM: 0}),
    ("chartqa", "1e2", "100", {VK: 1, MS: 1, LM: 1}),
    ("chartqa", " Yes", "yes", {VK: 1, MS: 1, LM: 0}),
    ("chartqa", "90", "['100', '90']", {VK: 1, MS: 1, LM: 0}),
    ("chartqa", "['100', '90']", "['100', '90']", {VK: 0, MS: 0, LM: 1}),
    ("chartqa", "[1, 2", "[1, 2", {VK: 1, MS: 1, LM: 1}),  # no literal: one answer
    # yes or no
    ("mme", "Not sure", "No", {VK: 0, LM: 1}),
    ("mme", "know", "No", {VK: 0, LM: 1}),
    ("mme", "eyes", "Yes", {VK: 0, LM: 1}),
    ("mme", "The answer is yes", "Yes", {VK: 1, LM: 0}),
    ("mme", "y", "Yes", {VK: 0, LM: 1}),
    ("pope", "Yes.", "Yes", {VK: 1, MS: 1, LM: 0}),
    ("pope", " YES ", "Yes", {VK: 1, LM: 1}),
    ("hallusionbench", "A. Yes", "Yes", {VK: 1, MS: 1}),
    ("hallusionbench", "Yes, no doubt", "Yes", {VK: 0}),
    # free answers
    ("gqa", "Yes.", "yes", {VK: 0, LM: 1}),
    ("gqa", " YES ", "yes", {VK: 1, LM: 0}),  # lmms-eval keeps the spaces
    ("gqa", "the dog", "dog", {VK: 0, LM: 0}),
    ("textvqa", "The Nokia.", ["nokia"] * 2 + ["x"] * 8, {VK: 0.6, LM: 0.6}),
    ("textvqa", "nokia", ["nokia"] + ["x"] * 9, {VK: 0.3}),
    ("textvqa", "nokia", ["nokia"] * 3 + ["x"] * 7, {VK: 0.9}),
    ("textvqa", "nokia", ["nokia"] * 4 + ["x"] * 6, {VK: 1.0}),
    ("vizwiz", "", [""] * 3 + ["x"] * 7, {VK: 0.9, LM: 0.9}),
    # lettered options, lmms-eval
    ("scienceqa", "b", "B", {VK: 0, LM: 1}),
    ("scienceqa", "B. because", "B", {LM: 1}),
    ("scienceqa", "(B)", "B", {VK: 1, LM: 0}),
    ("scienceqa", "b.", "B", {LM: 0}),
    ("ai2d", "The answer is B", "B", {VK: 1, LM: 0}),
    ("ai2d", " B. banana", "B", {VK: 1, LM: 1}),
    ("ai2d", "(b)", "B", {VK: 0, LM: 1}),
    ("mmstar", "A or B", "A", {VK: 0, LM: 1}),
    ("mmstar", "Because of C", "C", {VK: 1, LM: 1}),
    # video
    ("videomme", "Best option: A", "B", {VK: 1, MS: 1}),
    ("videomme", "I think the Answer is C", "A", {VK: 1}),
    ("videomme", "The best answer is C", "C", {VK: 1, LM: 1}),
    ("videomme", "the answer is c", "C", {VK: 0, LM: 0}),
    ("worldsense", "", "A", {VK: 0, LM: 1}),
    ("worldsense", "Because", "B", {VK: 1, LM: 1}),
    ("worldsense", "it is (C) or (B)", "B", {VK: 0, LM: 1}),
    ("longvideobench", "E", "E", {VK: 1, MS: 1}),
    ("mlvu", "(B) banana", "B", {VK: 1, LM: 1}),
    ("mlvu", "(A) or (B)", "B", {VK: 0, MS: 0}),
    ("mlvu", "B because the picture shows it", "B", {VK: 0, MS: 1}),
    # reading
    ("ocrbench", "The word\nis HELLO", ["word is hello"], {VK: 1, LM: 1}),
    ("ocrbench", "HELLO", ["x", "hell"], {VK: 1}),
]


@pytest.mark.parametrize(("name", "prediction", "reference", "expected"), ITEMS)
def test_one_answer(name, prediction, reference, expected, tmp_path):
    """By the classes, and the same from a line that says no more than it must."""
    references = [reference] if isinstance(reference, str) else reference
    bench = benchmark(name)
    video = name in ("videomme", "worldsense")
    options = tuple(f"{letter}. {one}" for letter, one in zip("ABCD", FRUIT, strict=True)) if video else FRUIT
    sample = Sample("0", "g", "", tuple(references), options=options)
    for protocol, score in expected.items():
        parsed = bench.parse(prediction, sample, protocol)
        assert (0.0 if parsed is None else bench.score(parsed, sample, protocol)) == pytest.approx(score)
    if name in ("mme", "pope", "hallusionbench"):  # aggregates of whole categories
        return
    line = {"prediction": prediction, "references": references, "options": options, "candidates": options}
    line |= {"category": "c", "l2_category": "d", "task_type": "needle"}
    path = tmp_path / "line.jsonl"
    path.write_text(json.dumps(line))
    for protocol, score in expected.items():
        score_predictions(name, protocol, path, rows=tmp_path / "rows.jsonl")
        assert json.loads((tmp_path / "rows.jsonl").read_text())["score"] == pytest.approx(score)


def test_formulas_keep_their_case_and_lose_their_spaces():
    bench = benchmark("ocrbench")
    for kind, prediction, score in (
        (FORMULA, "so \\frac {1} {X}", 1.0),
        (FORMULA, "\\frac{1}{x}", 0.0),
        ("Doc-oriented VQA", "\\frac{1}{x}", 1.0),
        ("Doc-oriented VQA", "\\frac {1} {X}", 0.0),
    ):
        sample = Sample("0", "g", "", ("\\frac{1}{X}",), category=kind)
        assert bench.score(bench.parse(prediction, sample), sample) == score


def scored(tmp_path, name, lines, protocol=VK):
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    (found,) = score_predictions(name, protocol, path)
    return found


def test_lmms_eval_tells_formulas_by_their_dataset(tmp_path):
    lines = [{"prediction": "x ^ 2", "references": ["x^2"], "dataset": one} for one in ("HME100k", "Other")]
    assert scored(tmp_path, "ocrbench", lines, LM)["value"] == 500.0


def test_mmbench_takes_a_question_only_with_all_its_copies(tmp_path):
    options = {"A": "x", "B": "y"}
    answers = [(1, "A", "A"), (1_000_001, "B", "B"), (2, "A", "A"), (1_000_002, "B", "A")]
    lines = [{"index": i, **options, "references": [a], "prediction": p} for i, a, p in answers]
    assert scored(tmp_path, "mmbench", lines)["value"] == 50.0


def test_mme_of_some_categories_is_a_sum_for_lmms_eval_alone(tmp_path):
    """count: 3 of 4 questions, 1 of 2 pairs: 75 + 50; OCR: all: 200."""
    answers = [("count", "1", "Yes", "Yes"), ("count", "1", "No", "No"), ("count", "2", "Yes", "yes.")]
    answers += [("count", "2", "No", "maybe"), ("OCR", "1", "Yes", "Y"), ("OCR", "1", "No", "not at all")]
    lines = [
        {"category": category, "question_id": image, "references": [answer], "prediction": text}
        for category, image, answer, text in answers
    ]
    found = scored(tmp_path, "mme", lines, LM)
    assert found["value"] == found["report"]["perception"] == 325.0
    assert found["report"]["count"] == 125.0
    with pytest.raises(InputError, match="no row of category 'artwork'"):
        scored(tmp_path, "mme", lines)
    with pytest.raises(InputError, match="unknown category of benchmark 'mme' 'colour'"):
        scored(tmp_path, "mme", [{**line, "category": "colour"} for line in lines[:2]], LM)


def test_mmstar_by_protocol(tmp_path):
    """3 of 4 rows; by second level 1/1 and 2/3."""
    lines = [
        {"references": ["A"], "options": ["x", "y"], "category": "c", "l2_category": kind, "prediction": p}
        for kind, p in (("one", "A"), ("two", "A"), ("two", "A"), ("two", "B"))
    ]
    assert scored(tmp_path, "mmstar", lines)["value"] == 75.0
    assert scored(tmp_path, "mmstar", lines, LM)["value"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    with pytest.raises(InputError, match="l2_category"):
        scored(tmp_path, "mmstar", [{**one, "l2_category": ""} for one in lines], LM)


def test_pope_counts_a_merged_row_once_per_category(tmp_path):
    """Hits 2 + 1, false alarms 1, misses 3 (an unreadable one among them): F1 = 6 / (6 + 1 + 3)."""
    rows = [("adversarial,popular", "Yes", "Yes"), ("random", "Yes", "yes."), ("random", "No", "Yes")]
    rows += [("popular", "Yes", "**Yes**"), ("adversarial,random", "Yes", "No")]
    lines = [
        {"index": number, "category": category, "answer": answer, "prediction": prediction}
        for number, (category, answer, prediction) in enumerate(rows)
    ]
    found = scored(tmp_path, "pope", lines)
    assert found["value"] == pytest.approx(60.0)
    assert found["report"]["Overall"]["precision"] == pytest.approx(75.0)
    assert found["report"]["Overall"]["recall"] == pytest.approx(50.0)
    assert found["report"]["Overall"]["acc"] == pytest.approx(100 * 3 / 7)


# --- files of VLMEvalKit ---------------------------------------------------------------------------
@pytest.mark.parametrize("ending", ["xlsx", "tsv"])
@pytest.mark.parametrize("name", ["ai2d", "realworldqa", "scienceqa", "mmstar"])
def test_an_empty_option_leaves_the_others_their_letters(name, ending, tmp_path):
    """ "None" is read back as an empty cell, which upstream skips: C stays C."""
    rows = [
        {"index": 0, "A": "left", "B": "None", "C": "right", "answer": "C", "prediction": "C"},
        {"index": 1, "A": "left", "B": "None", "C": "right", "answer": "C", "prediction": "right"},
        {"index": 2, "A": "None", "B": "up", "C": "down", "answer": "B", "prediction": "A"},
        {"index": 3, "A": "None", "B": "up", "C": "down", "answer": "B", "prediction": "up"},
    ]
    table = pd.DataFrame([{"question": "Where?", "category": "c", **row} for row in rows])
    path = tmp_path / f"file.{ending}"
    table.to_excel(path, index=False) if ending == "xlsx" else table.to_csv(path, sep="\t", index=False)
    (found,) = score_predictions(name, VK, path)
    assert (found["value"], found["report"]["c"]) == (75.0, 0.75)


@pytest.mark.parametrize("ending", ["xlsx", "tsv"])
def test_answers_that_are_read_back_as_nothing(ending, tmp_path):
    """Both become "nan" upstream: equal as texts, and as numbers never within 5 %."""
    rows = [(0, "NA", "None", "test_human"), (1, "5", "5", "test_human"), (2, "N/A", "5", "test_augmented")]
    table = pd.DataFrame(rows, columns=["index", "answer", "prediction", "split"]).assign(question="?")
    path = tmp_path / f"file.{ending}"
    table.to_excel(path, index=False) if ending == "xlsx" else table.to_csv(path, sep="\t", index=False)
    (found,) = score_predictions("chartqa", VK, path)
    assert found["report"] == pytest.approx({"test_human": 50.0, "test_augmented": 0.0, "Overall": 100 / 3})
    (found,) = score_predictions("gqa", VK, path)
    assert found["value"] == pytest.approx(200 / 3)


# --- our own rows ------------------------------------------------------------------------------------
def test_rows_that_were_written_can_be_scored_again(tmp_path):
    lines = [
        {"references": ["A"], "options": list(FRUIT), "prediction": text} for text in ("apple", "A", "B", "?")
    ]
    (tmp_path / "first.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (first,) = score_predictions("ai2d", VK, tmp_path / "first.jsonl", rows=tmp_path / "rows.jsonl")
    (again,) = score_predictions("ai2d", VK, tmp_path / "rows.jsonl")
    assert again == first
    assert first["value"] == 50.0


def test_one_reference_may_be_a_plain_text(tmp_path):
    line = {"sample_id": "7", "references": "nokia", "prediction": "nokia"}
    assert scored(tmp_path, "gqa", [line])["value"] == 100.0


def test_numbers_are_answers_too(tmp_path):
    assert scored(tmp_path, "chartqa", [{"references": "100", "prediction": 96}])["value"] == 100.0


def test_letters_without_options_are_refused(tmp_path):
    line = {"sample_id": "7", "references": ["A"], "prediction": "A"}
    for name in ("ai2d", "scienceqa", "mmstar", "realworldqa"):
        with pytest.raises(InputError, match="no (column '(options|choices)'|options; give a list)"):
            scored(tmp_path, name, [line])
    open_answer = {**line, "references": ["downhill"], "prediction": "Downhill."}
    assert scored(tmp_path, "realworldqa", [open_answer])["value"] == 100.0


def asked(references, **more):
    return Sample(sample_id="s", group_id="g", question="?", references=references, **more)


@pytest.mark.parametrize(
    ("name", "sample", "text", "score", "first"),
    [
        ("digits", asked(("7",)), "7 red 7", 0.0, 1.0),  # begins right and goes on
        ("digits", asked(("7",)), "red 7", 0.0, 0.0),
        ("digits", asked(("7",)), "", 0.0, 0.0),
        ("textvqa", asked(("new york",) * 10), "new york", 1.0, None),  # one word cannot be right
        ("textvqa", asked(("york",) * 10), "york city", 0.0, 1.0),
        ("mmbench", asked(("B",), options=FRUIT), "B or C or D", 0.0, 1.0),
        ("mme", asked(("Yes",)), "no yes", 0.0, 0.0),
        ("ocrbench", asked(("exit",), category="Regular Text Recognition"), "the exit", 1.0, 0.0),
        ("ocrbench", asked(("way out",), category="Regular Text Recognition"), "way out", 1.0, None),
        ("chartqa", asked(("12",)), "12 percent", 0.0, 1.0),
    ],
)
def test_the_first_word_is_scored_by_the_same_rules(name, sample, text, score, first):
    bench = benchmark(name)
    parsed = bench.parse(text, sample, VK)
    assert (0.0 if parsed is None else bench.score(parsed, sample, VK)) == score
    assert bench.first_word_score(text, sample, VK) == first
