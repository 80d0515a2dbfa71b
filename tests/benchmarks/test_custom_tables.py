"""A user's table is read as written: letters stay, answers are read by one rule, both sides compare alike."""

from __future__ import annotations

import csv
import datetime
import itertools
import json

import hub_rows
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hawk.benchmarks import benchmark
from hawk.benchmarks.custom import METRICS, PARSERS, READINGS, REFUSED_PAIRS
from hawk.benchmarks.samples import checked
from hawk.core.errors import InputError
from hawk.tools.rescore import score_predictions

LETTERED = {"parser": "letter", "metric": "equal"}
COLUMNS = {"question": "q", "image": "i", "answer": "a"}


@pytest.fixture
def make(tmp_path):
    """A benchmark of rows in a file of any kind."""
    (tmp_path / "leaf.png").write_bytes(hub_rows.picture(0))

    def made(rows, kind="csv", **definition):
        rows = [{"q": f"Which, {number}?", "i": "leaf.png", **row} for number, row in enumerate(rows)]
        path = tmp_path / f"rows.{kind}"
        if kind == "jsonl":
            path.write_text("\n".join(map(json.dumps, rows)))
        elif kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), delimiter="," if kind == "csv" else "\t")
                writer.writeheader()
                writer.writerows(rows)
        columns = {**COLUMNS, **definition.pop("columns", {})}
        whole = {"file": path.name, "columns": columns, "prompt": "{question}\n{options}", **definition}
        (tmp_path / "made.yaml").write_text(yaml.safe_dump(whole))
        return benchmark("made", {"definition": str(tmp_path / "made.yaml")})

    return made


FOUR = {"options": ["A", "B", "C", "D"]}
KINDS = ("csv", "tsv", "jsonl", "parquet")


# --- cells that are no text -------------------------------------------------------------------------------
@pytest.mark.parametrize("cell", [b"Which?", datetime.date(2001, 2, 3), {"x": 1}, [1]])
@pytest.mark.parametrize("what", ["question", "id", "hint", "category", "group"])
def test_a_cell_that_has_no_one_spelling_is_refused(make, what, cell):
    bench = make([{"a": "oak", "c": cell}], "parquet", columns={what: "c"})
    with pytest.raises(InputError, match=rf"rows.parquet, row 1: column 'c' \({what}\) is "):
        list(bench.load())


def test_an_answer_that_has_no_one_spelling_is_refused(make):
    for answer in (datetime.datetime(2001, 2, 3), datetime.timedelta(1), b"oak"):
        with pytest.raises(InputError, match=r"rows.parquet, row 1: .* is no answer"):
            list(make([{"a": answer}], "parquet").load())


def test_a_parquet_with_a_column_twice(make, tmp_path):
    bench = make([{"a": "oak"}], "parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    pq.write_table(table.append_column("a", pa.array(["elm"])), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="the column 'a' is there 2 times"):
        list(bench.load())


# --- letters stay -------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_option_leaves_the_others_their_letters(make, kind):
    rows = [{"A": "oak", "B": "", "C": "birch", "D": "elm", "a": "C"}]
    (sample,) = (bench := make(rows, kind, **LETTERED, columns=FOUR)).load()
    assert sample.references == ("C",)
    assert bench.prompt(sample) == "Which, 0?\nA. oak\nC. birch\nD. elm"
    assert [bench.parse(text, sample) for text in ("birch", "C", "elm", "oak", "B")] == [
        "C",
        "C",
        "D",
        "A",
        None,
    ]
    assert bench.score("C", sample) == 1.0
    assert bench.score("B", sample) == 0.0


@pytest.mark.parametrize("cell", [None, float("nan"), "nan"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_empty_option_in_a_list(make, kind, cell):
    rows = [{"o": ["oak", str(cell) if cell == "nan" else None, "birch"], "a": "birch"}]
    (sample,) = make(rows, kind, **LETTERED, columns={"options": "o"}).load()
    assert sample.options == ("oak", "", "birch")
    assert sample.references == ("C",)


@pytest.mark.parametrize("parser", ["letter", "letter_anywhere"])
def test_the_letter_of_an_empty_option_is_no_answer(make, parser):
    rows = [{"A": "oak", "B": "", "C": "birch", "D": "elm", "a": "B"}]
    with pytest.raises(InputError, match="row 1: answer 'B' is none of the options"):
        list(make(rows, parser=parser, columns=FOUR).load())
    (sample,) = (bench := make([{**rows[0], "a": "C"}], parser=parser, columns=FOUR)).load()
    assert bench.parse("B", sample) is None


# --- one rule for a column of answers -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("choices", "answer", "readings"),
    [
        (("C", "A", "D", "B"), "A", {"letter": "A", "text": "B"}),
        (("4", "2", "6", "8"), "2", {"text": "B", "number": "C"}),
        (("0", "1", "2", "3"), "2", {"text": "C", "number": "C"}),
        (("oak", "elm", "fir", "ash"), "b", {"letter": "B"}),
        (("oak", "elm", "fir", "ash"), "fir", {"text": "C"}),
        (("oak", "elm", "fir", "ash"), "3", {"number": "D"}),
        (("oak", "elm", "fir", "ash"), "E", {}),
        (("oak", "elm", "fir", "ash"), "4", {}),
    ],
)
def test_an_answer_is_read_in_one_way_or_refused(make, choices, answer, readings):
    row = {**dict(zip("ABCD", choices, strict=True)), "a": answer}
    if len(set(readings.values())) == 1:
        (sample,) = make([row], **LETTERED, columns=FOUR).load()
        assert sample.references == (next(iter(readings.values())),)
    else:
        message = "can be read in two ways: as a .*answers: " if readings else "is none of the options"
        with pytest.raises(InputError, match=f"rows.csv, row 1: answer '{answer}' {message}"):
            list(make([row], **LETTERED, columns=FOUR).load())
    for how in READINGS:
        bench = make([row], **LETTERED, columns=FOUR, answers=how)
        if how in readings:
            assert next(bench.load()).references == (readings[how],)
        else:
            with pytest.raises(InputError, match=rf"read as a {how} \(answers: {how}\) is none"):
                list(bench.load())


def test_a_column_with_texts_and_numbers_is_two_rules(make):
    """4 is an option's text; 1 can only be a number, and is not counted from where the writer did."""
    options = dict(zip("ABCD", ("4", "2", "6", "8"), strict=True))
    rows = [{**options, "a": "4"}, {**options, "a": "1"}]
    with pytest.raises(
        InputError, match=r"row 2: answers are read in two ways: '4' \(row 1\) as a text, '1'"
    ):
        list(make(rows, **LETTERED, columns=FOUR).load())
    named = dict(zip("ABCD", ("oak", "elm", "fir", "ash"), strict=True))
    found = make([{**named, "a": "B"}, {**named, "a": "fir"}], **LETTERED, columns=FOUR).load()
    assert [sample.references for sample in found] == [("B",), ("C",)]  # as the documented example


# --- both sides in one form ---------------------------------------------------------------------------
ANSWERS = ["two", "the cat", "1,000", "Dont", "an oak, or elm", "-5", "5%", "yes", "It's 3.5"]


@pytest.mark.parametrize(("parser", "metric"), list(itertools.product(PARSERS, METRICS)))
def test_an_answer_is_right_against_itself(make, parser, metric):
    letters, several = parser.startswith("letter"), metric == "vqa_accuracy"
    texts = {"yes_no": ["yes", "No", "YES."]}.get(parser, ["B", "A"] if letters else ANSWERS)
    rows = [{"a": json.dumps([one] * 10) if several else one, "A": "oak", "B": "elm"} for one in texts]
    definition = {"parser": parser, "metric": metric, "columns": {"options": ["A", "B"]}}
    if (parser, metric) in REFUSED_PAIRS:
        with pytest.raises(InputError, match=f"parser '{parser}' with metric '{metric}': "):
            make(rows, **definition)
        return
    bench = make(rows, **definition)
    for sample, text in zip(checked(bench, bench.load()), texts, strict=True):
        parsed = bench.parse(text, sample)
        assert parsed is not None
        assert bench.score(parsed, sample) == 1.0, text


def test_another_answer_is_wrong_in_every_pair(make):
    """The negative control of the test above."""
    for parser, metric in itertools.product(("text", "vqa"), METRICS):
        if (parser, metric) in REFUSED_PAIRS:
            continue
        answer = json.dumps(["two cats"] * 10) if metric == "vqa_accuracy" else "two cats"
        bench = make([{"a": answer}], parser=parser, metric=metric)
        (sample,) = checked(bench, bench.load())
        assert bench.score(bench.parse("a green door", sample), sample) == 0.0


@pytest.mark.parametrize(
    ("definition", "answer", "message"),
    [
        ({"parser": "vqa"}, "the", "no answer can be right by the reference ''"),
        ({"parser": "yes_no"}, "maybe", "'maybe'; allowed: yes, no"),
        ({"metric": "vqa_accuracy"}, "oak", "1 annotators' answers"),
        ({"metric": "relaxed_accuracy"}, "inf", "no answer can be right"),
        ({}, "[]", "there is nothing to compare with"),
        ({}, "nan", "column 'a' \\(answer\\) is empty"),
        ({}, "['', '']", "there is nothing to compare with"),
        ({"metric": "contains"}, "", "is empty"),
    ],
)
def test_what_no_answer_can_meet_is_refused_by_row(make, definition, answer, message):
    with pytest.raises(InputError, match=rf"(row 1|sample '0').*{message}"):
        checked(bench := make([{"a": answer}], **definition), bench.load())


# --- hawk score ---------------------------------------------------------------------------------------
def test_the_same_row_scores_the_same_in_every_form(make, tmp_path):
    rows = [{"A": "oak", "B": "", "C": "birch", "D": "elm", "a": answer} for answer in ("C", "elm")]
    bench = make(rows, "jsonl", **LETTERED, columns=FOUR)
    samples = list(bench.load())
    given = ["birch", "oak"]
    forms = {
        "own columns": rows,
        "references in the table's form": [
            {"references": [row["a"]], "options": [row[one] for one in "ABCD"]} for row in rows
        ],
        "references in our form": [
            {"references": list(one.references), "options": list(one.options)} for one in samples
        ],
    }
    for form, lines in forms.items():
        path = tmp_path / "answers.jsonl"
        path.write_text(
            "\n".join(json.dumps({**line, "prediction": p}) for line, p in zip(lines, given, strict=True))
        )
        (found,) = score_predictions("made", None, path, options=dict(bench.options))
        assert found["value"] == 50.0, form
    path.write_text(
        json.dumps({**forms["references in our form"][0], "references": ["E"], "prediction": "A"})
    )
    with pytest.raises(InputError, match="row 0: answer 'E' is none of the options"):
        score_predictions("made", None, path, options=dict(bench.options))


# --- files that are none ------------------------------------------------------------------------------
def test_a_cell_of_any_length_is_read(make):
    before = csv.field_size_limit()
    long = "x" * 200_000
    (sample,) = make([{"a": "oak", "q": long}]).load()
    assert sample.question.startswith(long)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("csv", b"q,i,a\nx,leaf.png,y,z\n", "line 2: more cells than the header has columns"),
        ("csv", b"q,i,a\nx,leaf.png\n", r"row 1: column 'a' \(answer\) is empty"),
        ("csv", "q,i,a\nx,leaf.png,é\n".encode("latin-1"), "cannot be read as text in UTF-8"),
        ("jsonl", b"[1]\n", r"line 1: \[1\]; an object is allowed"),
        ("jsonl", b"\n{\n", "line 2: not JSON"),
        ("jsonl", b"\xff\n", "line 1: not JSON .'utf-8' codec"),
        (
            "jsonl",
            b'{"q": "x", "a": "y", "a": "z", "i": "leaf.png"}',
            "line 1: not JSON .*'a' is written twice",
        ),
        ("jsonl", b'{"q": "x\\ud800", "a": "y", "i": "leaf.png"}', "line 1: not JSON .*surrogates"),
        (
            "jsonl",
            b'{"q": {"x": 1}, "a": "y", "i": "leaf.png"}',
            r"row 1: column 'q' .question. is \{'x': 1\}",
        ),
        ("csv", b"q,a,i,a\nx,y,leaf.png,z\n", "the column 'a' is there 2 times"),
        ("tsv", b"q\ta\ti\ta\nx\ty\tleaf.png\tz\n", "the column 'a' is there 2 times"),
        ("parquet", b"PAR1", "not a readable parquet file"),
        ("jsonl", b'{"q": "x", "a": "y", "i": 3}', "row 1: the image is 3; a path is allowed"),
        ("jsonl", b'{"q": "x", "a": "y", "i": [null]}', "row 1: the image is None"),
        ("jsonl", b'{"q": "x", "a": "y", "i": {"path": null}}', "row 1: the image is"),
        ("jsonl", b'{"q": "x", "a": {"b": 1}, "i": "leaf.png"}', "row 1: .* is no answer"),
        ("jsonl", b'{"q": "x", "a": "y", "i": "."}', r"row 1: .*cannot be read \(it is a folder\)"),
        ("jsonl", b'{"q": "x", "a": "y", "i": "a\\u0000b"}', "row 1: .*cannot be read"),
    ],
)
def test_a_file_that_is_none_is_refused_by_line(make, tmp_path, ending, content, message):
    bench = make([{"a": "oak"}], ending)
    (tmp_path / f"rows.{ending}").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(bench.load())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": 3}, "file is 3; a text is allowed"),
        ({"file": ["a"]}, "file is \\['a'\\]; a text is allowed"),
        ({"images": None}, "images is None"),
        ({"prompt": ["{question}"]}, "prompt is "),
        ({"parser": ["text"]}, "parser is "),
        ({"metric": {}}, "metric is "),
        ({"version": True}, "version is True; it must be a whole number"),
        ({"version": 1.5}, "version is 1.5; it must be a whole number"),
        ({"max_new_tokens": "16"}, "max_new_tokens is '16'"),
        ({"max_new_tokens": 10**12}, "max_new_tokens is 10+; it must be a whole number from 1 to 100000"),
        ({"prompt": "{question:>9}"}, "'question' is written with a format; its name alone"),
        ({"prompt": "{question!r}"}, "'question' is written with a format; its name alone"),
        ({"family": 3}, "family is 3; a text is allowed"),
        ({"family": "a b"}, "family is 'a b'"),
        ({"answers": "letters"}, "Did you mean 'letter'"),
        ({"answers": "letter"}, "parser 'text' gives no letter"),
        ({"columns": []}, "columns is \\[\\]"),
        ({"columns": {**COLUMNS, "options": {}}}, "columns.options is {}"),
        ({"columns": {**COLUMNS, "options": []}}, "columns.options has 0 names"),
        ({"columns": {**COLUMNS, "options": ["A", 3]}}, "columns.options is "),
        ({"columns": {**COLUMNS, "options": [f"c{i}" for i in range(30)]}}, "has 30 names; 2 to 26"),
        ({"columns": {**COLUMNS, "question": 3}}, "columns.question is 3; a column's name"),
        ({"columns": {**COLUMNS, "answer": ["a"]}}, "columns.answer is "),
        ({"columns": {**COLUMNS, "image": None}}, "columns.image is missing"),
        ({3: 4}, "line 9: the key '3' is no text"),
        ({"prompt": "{question}", "promt": "x"}, r"made.yaml, line \d+: promt: unknown key"),
    ],
)
def test_a_definition_is_checked_key_by_key(make, tmp_path, changes, message):
    path = tmp_path / "made.yaml"
    make([{"a": "oak"}])
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    with pytest.raises(InputError, match=message) as caught:
        benchmark("made", {"definition": str(path)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: [1", b"- 1", b"3", b"", b"[" * 3000, b"a: b: c"])
def test_a_definition_that_is_no_yaml(tmp_path, content):
    (tmp_path / "made.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"made.yaml(, line 1)?: (not|expected|empty|nested)") as caught:
        benchmark("made", {"definition": str(tmp_path / "made.yaml")})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [3, ["a"], True])
def test_a_definition_is_named_by_a_path(given):
    with pytest.raises(InputError, match="data.made.definition is .*; a path is allowed"):
        benchmark("made", {"definition": given})


def test_more_options_than_letters(make):
    rows = [{"o": [f"option {i}" for i in range(30)], "a": "option 29"}]
    with pytest.raises(InputError, match="rows.jsonl, row 1: 30 options; at most 26 have a letter"):
        list(make(rows, "jsonl", **LETTERED, columns={"options": "o"}).load())
