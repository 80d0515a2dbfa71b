"""An answer counts the same wherever it stands, and a perfect one reaches the maximum.

For every benchmark and protocol: the row's own column, ``references`` in the table's form and in ours,
TSV, parquet and JSONL give the same scores.
"""

from __future__ import annotations

import base64
import json
from itertools import islice

import hub_rows
import pandas as pd
import pytest
from factories import stored_row
from hub_rows import PERFECT

from hawk.benchmarks import REGISTRY, benchmark
from hawk.benchmarks.bases.dataset import ANSWERS
from hawk.benchmarks.rules.cells import options, text
from hawk.benchmarks.samples import to_row
from hawk.core.errors import InputError
from hawk.core.files import write_table
from hawk.core.schemas import SAMPLES, SCORES
from hawk.tools.rescore import score_predictions

EMBEDDED = [name for name in REGISTRY if name not in PERFECT]  # drawn, or shipped as a small table
CASES = [(name, protocol) for name in PERFECT for protocol in benchmark(name).protocols]


def answers_of(name, protocol):
    found = list(PERFECT[name])
    if name == "chartqa" and protocol == "lmms-eval":
        found[1] = "[2013, 2014]"  # one text there
    return found


def rows_of(name):
    """Rows as published; CCBench's table has the columns of MMBench's."""
    return hub_rows.TABLES["mmbench" if name == "ccbench" else name][0][1]()


def without_image(name):
    return [{k: v for k, v in row.items() if k != "image"} for row in rows_of(name)]


def answer_column(row):
    return next(one for one in ANSWERS if one in row)


def samples_of(name, tmp_path):
    if name == "ccbench":  # only as VLMEvalKit's TSV
        cells = [{**row, "image": base64.b64encode(row["image"]["bytes"]).decode()} for row in rows_of(name)]
        pd.DataFrame(cells).to_csv(tmp_path / "CCBench.tsv", sep="\t", index=False)
        return list(benchmark(name, {"path": str(tmp_path / "CCBench.tsv")}).load())
    made = {"path": str(hub_rows.write(name, tmp_path / name))}
    if name in hub_rows.VIDEOS:
        for number in range(2):
            hub_rows.clip(tmp_path / "videos" / f"clip{number}.mp4", number)
        made["videos"] = str(tmp_path / "videos")
    return list(benchmark(name, made).load())


def written(form, name, predictions, tmp_path):
    """A file of predictions in one of the forms; and the file of samples, where it needs one."""
    rows = without_image(name)
    if form in ("own column", "own column in a TSV"):
        lines = rows
    elif form == "references in the table's form":
        lines = []
        for row in rows:
            column = answer_column(row)
            value = row.pop(column)
            lines.append({**row, "references": value if isinstance(value, list | str) else [value]})
    elif form == "answer in the table's form":
        lines = [{**row, "answer": row.pop(answer_column(row))} for row in rows]
    else:
        samples = samples_of(name, tmp_path)
        if form == "our parquet":
            identity = {"role": "evaluation", "benchmark": name}
            write_table(
                tmp_path / "samples.parquet",
                [to_row(one) for one in samples],
                SAMPLES,
                {"identity": identity},
            )
            scores = [stored_row(one.sample_id, text) for one, text in zip(samples, predictions, strict=True)]
            write_table(tmp_path / "scores.parquet", scores, SCORES, {"identity": identity})
            return tmp_path / "scores.parquet", tmp_path / "samples.parquet"
        column = answer_column(rows[0])
        lines = [
            {**{k: v for k, v in row.items() if k != column}, "references": list(one.references)}
            for row, one in zip(rows, samples, strict=True)
        ]
    lines = [{**line, "prediction": text} for line, text in zip(lines, predictions, strict=True)]
    if form == "own column in a TSV":
        path = tmp_path / "file.tsv"
        pd.DataFrame(lines).to_csv(path, sep="\t", index=False)
    else:
        path = tmp_path / "file.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
    return path, None


FORMS = (
    "own column",
    "own column in a TSV",
    "answer in the table's form",
    "references in the table's form",
    "references in our form",
    "our parquet",
)


@pytest.mark.parametrize(("name", "protocol"), CASES)
def test_a_perfect_answer_scores_the_maximum_in_every_form(name, protocol, tmp_path):
    for form in FORMS:
        path, samples = written(form, name, answers_of(name, protocol), tmp_path)
        (found,) = score_predictions(name, protocol, path, samples=samples, rows=tmp_path / "rows.jsonl")
        scores = [json.loads(line)["score"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        assert scores == pytest.approx([1.0] * len(scores)), form
        # lmms-eval's MLVU is a mean over seven tasks, of which the rows have one
        part = 7 if (name, protocol) == ("mlvu", "lmms-eval") else 1
        assert found["value"] == pytest.approx(benchmark(name).native_max / part), form


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_perfect_answer_to_an_embedded_benchmark(name, tmp_path):
    """Its samples have no published row: their references, as a prediction file and as our tables."""
    bench = benchmark(name)
    samples = list(islice(bench.load(), 12))
    identity = {"role": "evaluation", "benchmark": name}
    write_table(
        tmp_path / "samples.parquet", [to_row(one) for one in samples], SAMPLES, {"identity": identity}
    )
    for given, least in (({}, bench.native_max), ({samples[0].sample_id: "neither"}, None)):
        answers = [given.get(one.sample_id, one.references[0]) for one in samples]
        values = []
        for protocol in bench.protocols:
            lines = [
                {"sample_id": one.sample_id, "question": one.question, "references": one.references,
                 "prediction": answer}
                for one, answer in zip(samples, answers, strict=True)
            ]  # fmt: skip
            (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, lines)))
            scores = [stored_row(one.sample_id, text) for one, text in zip(samples, answers, strict=True)]
            write_table(tmp_path / "scores.parquet", scores, SCORES, {"identity": identity})
            for path, asked in (("file.jsonl", None), ("scores.parquet", tmp_path / "samples.parquet")):
                (found,) = score_predictions(name, protocol, tmp_path / path, samples=asked)
                values.append(found["value"])
        wanted = bench.native_max * 11 / 12 if least is None else least
        assert values == pytest.approx([wanted] * len(values))


def test_every_benchmark_and_protocol_is_tried():
    tried = {*CASES, *((name, protocol) for name in EMBEDDED for protocol in benchmark(name).protocols)}
    assert tried == {(name, protocol) for name in REGISTRY for protocol in benchmark(name).protocols}


@pytest.mark.parametrize(("name", "protocol"), CASES)
def test_half_right_answers_score_alike_in_every_form(name, protocol, tmp_path):
    unread = 0 if name == "pope" else 1  # a "no" that is not read costs no F1
    given = ["it cannot be" if i % 2 == unread else one for i, one in enumerate(answers_of(name, protocol))]
    values = []
    for form in FORMS:
        path, samples = written(form, name, given, tmp_path)
        (found,) = score_predictions(name, protocol, path, samples=samples)
        values.append((found["value"], found["unparsed"]))
    assert values == [values[0]] * len(FORMS)
    assert values[0][0] < benchmark(name).native_max


@pytest.mark.parametrize(("name", "protocol"), CASES)
def test_rows_that_were_written_score_the_same_again(name, protocol, tmp_path):
    path, _ = written("own column", name, answers_of(name, protocol), tmp_path)
    (first,) = score_predictions(name, protocol, path, rows=tmp_path / "rows.jsonl")
    (again,) = score_predictions(name, protocol, tmp_path / "rows.jsonl")
    assert again == first


# --- references are brought to one form, or refused by name ------------------------------------------
@pytest.mark.parametrize(
    ("name", "values", "form"),
    [
        ("mme", ["yes", "Yes", "YES", "yes.", ["Yes"]], "Yes"),
        ("pope", ["no", "No", "NO.", ["no"]], "No"),
        ("hallusionbench", ["1", 1, "Yes", "yes", ["1"]], "Yes"),
        ("hallusionbench", ["0", 0, "No", ["0"]], "No"),
        ("ai2d", ["1", 1, "B", ["1"], ["B"]], "B"),
        ("scienceqa", ["1", 1, "B", ["B"]], "B"),
        ("mmbench", ["B", " B ", ["B"]], "B"),
        ("mmstar", ["B", ["B"]], "B"),
        ("realworldqa", ["B", "B.", ["B"]], "B"),
        ("longvideobench", [1, "1", 1.0, "B"], "B"),
        ("mlvu", ["B", "right", ["right"]], "B"),
        ("videomme", ["B", ["B"]], "B"),
        ("worldsense", ["B", " B"], "B"),
    ],
)
def test_one_form_of_a_reference(name, values, form):
    choices = ("left", "right", "up", "down") if name not in ("mme", "pope", "hallusionbench") else ()
    for value in values:
        assert benchmark(name).as_references(value, choices) == (form,), value


@pytest.mark.parametrize("name", sorted(PERFECT))
@pytest.mark.parametrize(
    "value", [None, float("nan"), "", "nan", "NaN", "null", [], [None], [""] * 10, "[]", {}]
)
def test_no_answer_is_refused_everywhere(name, value):
    with pytest.raises(InputError):
        benchmark(name).as_references(value, ("left", "right"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mme", "maybe", "'maybe'; allowed: yes, no"),
        ("mme", "1", "allowed: yes, no"),
        ("pope", ["yes", "no"], "one is allowed"),
        ("hallusionbench", "2", "allowed: yes, no, 1, 0"),
        ("ai2d", "4", "none of the 2 options"),
        ("ai2d", "left", "none of the 2 options"),
        ("scienceqa", -1, "none of the 2 options"),
        ("mmbench", "C", "none of the 2 options"),
        ("mmstar", "left", "none of the 2 options"),
        ("longvideobench", -1, "'-1'; allowed: A, B"),
        ("longvideobench", 2, "'2'; allowed: A, B"),
        ("longvideobench", 1.5, "'1.5'; allowed: A, B"),
        ("mlvu", "up", "'up'; allowed: A, B"),
        ("videomme", "left", "allowed: A, B"),
        ("worldsense", "Z", "allowed: A, B"),
        ("textvqa", "nokia", "1 annotators' answers"),
        ("vizwiz", ["a"] * 3, "3 annotators' answers"),
        ("gqa", {"a": 1}, "is no answer"),
        ("gqa", [["a"]], "is no answer"),
    ],
)
def test_an_answer_that_no_reply_can_meet_is_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        benchmark(name).as_references(value, ("left", "right"))


def test_a_letter_that_is_also_another_option_s_text_is_refused():
    with pytest.raises(InputError, match="'A' is a letter, and the text of option B"):
        benchmark("mlvu").as_references("A", ("B", "A"))
    assert benchmark("mlvu").as_references("A", ("A", "B")) == ("A",)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *((name, "answer") for name in ("gqa", "chartqa", "realworldqa", "mme")),
        ("hallusionbench", "gt_answer"),
        ("longvideobench", "correct_choice"),
        ("textvqa", "answers"),
    ],
)
@pytest.mark.parametrize("value", [None, "nan"])
def test_a_table_with_a_missing_answer_names_the_sample(name, column, value, tmp_path, monkeypatch):
    file, rows_of = hub_rows.TABLES[name][0]
    rows = rows_of()
    rows[1][column] = value if column != "answers" else [""] * 10
    if column == "correct_choice":
        rows[1][column] = -1 if value is None else 4
    tables = [(file, lambda: rows), *hub_rows.TABLES[name][1:]]
    monkeypatch.setitem(hub_rows.TABLES, name, tables)
    with pytest.raises(InputError, match=rf"benchmark '{name}', sample '[^']+': (the answer|the annotators)"):
        samples_of(name, tmp_path)


# --- cells -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [None, float("nan"), "", " ", "nan", "NaN", "null", pd.NA])
def test_an_empty_cell_is_empty(value):
    assert text(value) is None


@pytest.mark.parametrize("value", ["None", "NA", "N/A", "0", 0, False, "nano"])
def test_what_an_option_may_say_is_a_text(value):
    assert text(value) == str(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["a", "b"], ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ('["a", null, "c"]', ("a", "", "c")),
        (["a", None, "c", "nan", float("nan")], ("a", "", "c")),
        ({"A": "a", "B": None, "C": "c"}, ("a", "", "c")),
        ([1, 2], ("1", "2")),
        (None, ()),
        ([], ()),
    ],
)
def test_options_in_a_cell(value, found):
    assert options(value) == found


@pytest.mark.parametrize("value", ["a, b", "['a' 'b']", 3, [["a"], ["b"]], ["x"] * 27, "[a"])
def test_what_is_no_list_of_options_is_refused(value):
    with pytest.raises(InputError, match="option"):
        options(value)


def rewritten(name, tmp_path, changes):
    """The fixture's table with cells changed, whatever their types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{**row, **changes.get(number, {})} for number, row in enumerate(hub_rows.TABLES[name][0][1]())]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return benchmark(name, {"path": str(path)})


@pytest.mark.parametrize("name", ["ai2d", "scienceqa"])
def test_options_stored_as_the_text_of_a_list(name, tmp_path):
    column = "options" if name == "ai2d" else "choices"
    rows = hub_rows.TABLES[name][0][1]()
    plain = list(rewritten(name, tmp_path, {}).load())
    as_text = {number: {column: repr(row[column])} for number, row in enumerate(rows)}
    assert list(rewritten(name, tmp_path, as_text).load()) == plain
    bare = {number: {column: "West Virginia, Louisiana"} for number in range(len(rows))}
    with pytest.raises(InputError, match=rf"benchmark '{name}', sample '0': options are 'West"):
        list(rewritten(name, tmp_path, bare).load())


def test_an_option_that_says_nan_is_neither_asked_nor_matched(tmp_path):
    question = "Which one is the dominant one?\nOptions: A: left, B: right, C: up, D: nan"
    bench = rewritten("mmstar", tmp_path, {0: {"question": question}})
    sample = next(bench.load())
    assert sample.options == ("left", "right", "up")
    assert bench.prompt(sample).endswith("C. up\nPlease select the correct answer from the options above. \n")
    assert "nan" not in bench.prompt(sample).replace("dominant", "")
    assert bench.parse("The dominant one", sample) is None  # "dominant" holds "nan"


@pytest.mark.parametrize("cell", ["nan", None, float("nan"), "null"])
def test_hint_and_category_that_say_nan_are_none(cell, tmp_path):
    path = tmp_path / "lines.jsonl"
    line = {"index": 1, "hint": cell, "category": cell, "l2-category": "x", "question": "Where?"}
    line |= {"A": "left", "B": "right", "answer": "A", "prediction": "A"}
    other = {**line, "index": 1_000_001, "A": "right", "B": "left", "answer": "B", "prediction": "B"}
    path.write_text(json.dumps(line) + "\n" + json.dumps(other))
    (found,) = score_predictions("mmbench", "vlmevalkit", path, rows=tmp_path / "rows.jsonl")
    assert found["report"] == {"Overall": 1.0, "x": 1.0}


# --- marks of options in the text --------------------------------------------------------------------
LINE = "Please answer directly with only the letter of the correct option and nothing else."


@pytest.mark.parametrize(
    ("lines", "choices"),
    [
        ("A. Left\nB Straight\nC. The right one", ("Left", "Straight", "The right one")),
        ("A. Left\n(B) Straight\nC: The right one", ("Left", "Straight", "The right one")),
        ("A. Left\nC. The right one", ("Left", "", "The right one")),
        ("A) Left\nB) Straight\nC The right one", ("Left", "Straight", "The right one")),
    ],
)
def test_a_gap_in_the_marks_leaves_a_letter_question(lines, choices, tmp_path):
    bench = rewritten(
        "realworldqa", tmp_path, {0: {"question": f"Where does it go?\n\n{lines}\n{LINE}", "answer": "C"}}
    )
    sample = next(bench.load())
    assert sample.options == choices
    assert bench.prompt(sample).startswith("Question: Where does it go?\nOptions:\nA. Left\n")
    for protocol in bench.protocols:
        for answer, score in (("C. The right one", 1.0), ("C", 1.0), ("A. Left", 0.0)):
            parsed = bench.parse(answer, sample, protocol)
            assert (0.0 if parsed is None else bench.score(parsed, sample, protocol)) == score


def test_options_that_cannot_be_read_still_leave_a_letter_question(tmp_path):
    bench = rewritten(
        "realworldqa", tmp_path, {0: {"question": f"Left, straight or right? {LINE}", "answer": "C"}}
    )
    sample = next(bench.load())
    assert sample.options == ()
    for answer, score in (("C. The right one", 1.0), ("C", 1.0), ("A", 0.0), ("right", 0.0)):
        parsed = bench.parse(answer, sample)
        assert (0.0 if parsed is None else bench.score(parsed, sample)) == score
