"""A user's own benchmark from a table and a YAML; the example of docs/benchmarks.md is run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import hub_rows
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import checked
from hawk.core.errors import InputError
from hawk.tools.rescore import score_predictions

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks.md"


@pytest.fixture
def plants(tmp_path):
    """The documented example, with its images."""
    text = DOCS.read_text(encoding="utf-8")
    for name in ("questions.csv", "plants.yaml"):
        block = re.search(rf"<!-- file: plants/{re.escape(name)} -->\n```\w+\n(.*?)```", text, re.DOTALL)
        assert block, f"{name} is not in {DOCS}"
        path = tmp_path / "plants" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.group(1), encoding="utf-8")
    (tmp_path / "plants" / "photos").mkdir()
    for number, name in enumerate(("leaf.png", "tree.png")):
        (tmp_path / "plants" / "photos" / name).write_bytes(hub_rows.picture(number))
    return tmp_path / "plants"


def edit(plants, **changes):
    path = plants / "plants.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return benchmark("plants", {"definition": str(path)})


def test_the_documented_example(plants):
    bench = benchmark("plants", {"definition": str(plants / "plants.yaml")})
    assert (bench.name, bench.version, bench.family) == ("plants", 1, "plants")
    samples = checked(bench, bench.load())
    assert [sample.sample_id for sample in samples] == ["1", "2"]
    assert bench.prompt(samples[0]) == (
        "Which plant is this?\nA. oak\nB. maple\nC. birch\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert samples[1].references == ("C",)  # given as the option's text
    assert samples[0].images[0]["bytes"] == hub_rows.picture(0)
    assert bench.score(bench.parse("The answer is (B).", samples[0]), samples[0]) == 1.0
    assert bench.score(bench.parse("A", samples[0]), samples[0]) == 0.0
    assert bench.parse("no idea", samples[0]) is None
    assert bench.max_new_tokens() == 16


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same(plants, kind):
    rows = [
        {"q": "What?", "i": "leaf.png", "a": "['oak', 'oak tree']"},
        {"q": "And, here?", "i": "tree.png", "a": "birch"},
    ]
    path = plants / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        import csv

        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    columns = {"question": "q", "image": "i", "answer": "a"}
    bench = edit(plants, file=path.name, columns=columns, prompt="{question}", parser="text")
    samples = checked(bench, bench.load())
    assert [sample.references for sample in samples] == [("oak", "oak tree"), ("birch",)]
    assert [sample.question for sample in samples] == ["What?", "And, here?"]
    assert bench.score("Oak Tree", samples[0]) == 1.0


def test_images_inside_a_parquet_and_rows_that_belong_together(plants):
    rows = [
        {"q": "1", "i": {"bytes": hub_rows.picture(number), "path": None}, "a": "x", "g": "pair"}
        for number in range(2)
    ]
    pq.write_table(pa.Table.from_pylist(rows), plants / "rows.parquet")
    columns = {"question": "q", "image": "i", "answer": "a", "group": "g"}
    bench = edit(plants, file="rows.parquet", columns=columns, prompt="{question}", parser="text")
    samples = list(bench.load())
    assert samples[0].images[0]["bytes"] == hub_rows.picture(0)
    assert samples[0].group_id == samples[1].group_id
    assert samples[0].metric_group == "pair"


@pytest.mark.parametrize(
    ("metric", "answer", "score"),
    [
        ("equal", "NOKIA", 1.0),
        ("vqa_accuracy", "the nokia", 0.6),
        ("relaxed_accuracy", "102", 1.0),
        ("anls", "noki", 0.8),
        ("contains", "a nokia phone", 1.0),
    ],
)
def test_metrics_by_name(plants, metric, answer, score):
    bench = edit(plants, metric=metric, parser="text", columns={**_columns(plants), "options": None})
    sample = next(iter(bench.load()))
    from dataclasses import replace

    references = ("nokia", "nokia", "100", *(["x"] * 7))
    assert bench.score(answer, replace(sample, references=references)) == pytest.approx(score)


def _columns(plants):
    return yaml.safe_load((plants / "plants.yaml").read_text())["columns"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"promt": "x"}, "Did you mean 'prompt'"),
        ({"parser": "leter"}, "Did you mean 'letter'"),
        ({"metric": "bleu"}, "Allowed: anls, contains, equal, relaxed_accuracy, vqa_accuracy"),
        ({"prompt": "{question.__class__}"}, "field of the prompt"),
        ({"prompt": "{qestion}"}, "Did you mean 'question'"),
        ({"prompt": "{question"}, "write {{ for a brace"),
        ({"columns": {"question": "text"}}, "columns.answer is missing"),
        ({"max_new_tokens": 0}, "a whole number from 1"),
        ({"file": "absent.csv"}, "there is no file"),
        ({"file": "questions.docx"}, "Allowed: .csv, .jsonl, .parquet, .tsv"),
        ({"images": "elsewhere"}, "leaf.png: cannot be read"),
    ],
)
def test_mistakes_are_named(plants, changes, message):
    with pytest.raises(InputError, match=message):
        list(edit(plants, **changes).load())


def test_a_wrong_cell_is_named(plants):
    table = plants / "questions.csv"
    right = table.read_text()
    table.write_text(right.replace(",B,oak", ",E,oak"))
    bench = benchmark("plants", {"definition": str(plants / "plants.yaml")})
    with pytest.raises(InputError, match=r"questions.csv, row 1: answer 'E' is none of the options"):
        list(bench.load())
    table.write_text(right)
    columns = {**_columns(plants), "question": "txt"}
    with pytest.raises(InputError, match=r"row 1: no column 'txt' \(question\)"):
        list(edit(plants, columns=columns).load())


def test_an_unknown_name_without_a_definition():
    with pytest.raises(InputError, match="unknown benchmark 'plants'"):
        benchmark("plants")


def test_answers_to_it_are_scored(plants, tmp_path):
    path = tmp_path / "answers.jsonl"
    row = {"prediction": "B", "references": ["B"], "sample_id": "1", "options": ["oak", "maple", "birch"]}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "prediction": "oak", "sample_id": "2"}))
    options = {"definition": str(plants / "plants.yaml")}
    (found,) = score_predictions("plants", "lmms-eval", path, options=options)
    assert (found["value"], found["rows"], found["protocol"]) == (50.0, 2, "lmms-eval")
    for missing in ("options", "references"):
        path.write_text(json.dumps({key: cell for key, cell in row.items() if key != missing}))
        with pytest.raises(InputError, match=rf"row 0: .*'{missing}'"):
            score_predictions("plants", "lmms-eval", path, options=options)
