"""`hawk score`: the same predictions give the same scores, whatever file they come in."""

from __future__ import annotations

import json
from pathlib import Path

import hub_rows
import pandas as pd
import pytest
from click.testing import CliRunner
from factories import stored_row

from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import to_row
from hawk.cli.tools import score
from hawk.core.errors import InputError
from hawk.core.files import write_table
from hawk.core.schemas import EVALUATION, SAMPLES, SCORES
from hawk.tools.rescore import score_predictions

ANSWERS = {  # a right, a wrong and an unreadable answer for each
    "ai2d": ["A", "A", "The answer is C.", "none of them"],
    "chartqa": ["13.5", "2014", "No", "0.6"],
    "gqa": ["Yes", "yes", "yes.", "no"],
    "hallusionbench": ["No", "Yes.", "yes", "**No**", "no", "I see a map"],
    "mme": ["Yes", "No"] * 10 + ["No", "No"] * 3 + ["Yes:", "No"],
    "mmbench": ["A", "C", "B", "A", "D", "C", "A"],
    "mmstar": ["A", "B", "yes", "I cannot say"],
    "ocrbench": ["The CENTRE", "161886 in all", "\\frac{1}{2}", "1,50"],
    "pope": ["Yes", "No", "no", "No", "maybe", "Yes"],
    "realworldqa": ["A", "2.", "C", "downhill"],
    "scienceqa": ["B", "B.", "A"],
    "textvqa": ["Nokia", "the nokia phone", "noka", ""],
    "videomme": ["A", "B", "(C)", "no letter"],
    "vizwiz": ["pepsi", "Unanswerable.", "coke", ""],
    "worldsense": ["A", "B", "Answer: A", ""],
}


def sampled(name, tmp_path):
    folder = hub_rows.write(name, tmp_path / name)
    options = {"path": str(folder)}
    if name in hub_rows.VIDEOS:
        for number in range(2):
            hub_rows.clip(tmp_path / "videos" / f"clip{number}.mp4", number)
        options["videos"] = str(tmp_path / "videos")
    return list(benchmark(name, options).load())


def direct(name, samples, answers, protocol):
    """What scoring during a run gives."""
    bench = benchmark(name, {"protocol": protocol})
    rows = []
    for sample, answer in zip(samples, answers, strict=True):
        parsed = bench.parse(answer, sample, protocol)
        value = 0.0 if parsed is None else bench.score(parsed, sample, protocol)
        rows.append({**to_row(sample), "parsed": parsed, "score": value})
    table = pd.DataFrame(rows)
    return bench.aggregate(table), table


SUPPORTED = [(name, protocol) for name in ANSWERS for protocol in benchmark(name).protocols]


@pytest.mark.parametrize(("name", "protocol"), SUPPORTED)
def test_our_parquet(name, protocol, tmp_path):
    samples, answers = sampled(name, tmp_path), ANSWERS[name]
    value, table = direct(name, samples, answers, protocol)
    run = tmp_path / "outputs" / "run"
    identity = {"role": "evaluation", "benchmark": name}
    write_table(
        run / "samples" / "evaluation" / f"{name}.parquet",
        [to_row(sample) for sample in samples],
        SAMPLES,
        {"identity": identity},
    )
    saved = run / "scores" / name / "baseline" / "evaluation.parquet"
    rows = [stored_row(sample.sample_id, answer) for sample, answer in zip(samples, answers, strict=True)]
    write_table(saved, rows, SCORES, {"identity": identity, "settings": {"protocol": protocol}})
    (found,) = score_predictions(name, None, saved, rows=tmp_path / "rows.jsonl")
    assert found["protocol"] == protocol
    assert found["value"] == pytest.approx(value)
    assert found["rows"] == len(samples)
    assert found["unparsed"] == table["parsed"].isna().sum()
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [line["score"] for line in lines] == pytest.approx(table["score"].tolist())
    parsed = [None if pd.isna(one) else one for one in table["parsed"]]
    assert [line["parsed"] for line in lines] == parsed


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("with_references", [True, False])
def test_jsonl_with_the_benchmark_s_own_columns(name, with_references, tmp_path):
    samples, answers = sampled(name, tmp_path), ANSWERS[name]
    value, table = direct(name, samples, answers, "vlmevalkit")
    path = tmp_path / "answers.jsonl"
    lines = []
    for sample, row, answer in zip(samples, hub_rows.TABLES[name][0][1](), answers, strict=True):
        line = {key: cell for key, cell in row.items() if key != "image"}
        if with_references:
            for key in ("answer", "answers", "gt_answer"):
                line.pop(key, None)
            line["references"] = list(sample.references)
        lines.append(json.dumps({**line, "prediction": answer}))
    path.write_text("\n".join(lines))
    (found,) = score_predictions(name, "vlmevalkit", path)
    assert found["value"] == pytest.approx(value)
    assert found["unparsed"] == table["parsed"].isna().sum()


@pytest.mark.parametrize("ending", ["xlsx", "tsv"])
def test_vlmevalkit_s_result_files(ending, tmp_path):
    base = {"A": "x", "B": "y", "C": "z", "question": "Which?", "split": "test"}
    rows = [
        {"index": 0, **base, "answer": "A", "category": "c", "prediction": "A"},
        {"index": 1, **base, "answer": "B", "category": "c", "prediction": "The answer is B."},
        {"index": 2, **base, "answer": "C", "category": "d", "prediction": "None"},
        {"index": 3, **base, "answer": "C", "category": "d", "prediction": "A"},
    ]
    path = tmp_path / f"model_AI2D_TEST.{ending}"
    table = pd.DataFrame(rows)
    table.to_excel(path, index=False) if ending == "xlsx" else table.to_csv(path, sep="\t", index=False)
    (found,) = score_predictions("ai2d", "vlmevalkit", path)
    assert found["value"] == 50.0
    assert found["report"] == {"Overall": 0.5, "c": 1.0, "d": 0.0}
    assert found["unparsed"] == 1  # "None" is read back as an empty cell, as upstream


def test_every_ratio_and_seed_of_an_evaluation_file(tmp_path):
    samples = sampled("chartqa", tmp_path)
    identity = {"role": "evaluation", "benchmark": "chartqa", "variant": "hawk"}
    rows = [to_row(sample) for sample in samples]
    write_table(tmp_path / "samples.parquet", rows, SAMPLES, {"identity": identity})
    saved = [
        stored_row(sample.sample_id, answer, pruning_ratio=ratio, seed=0)
        for ratio, answers in (("0.6", ["14", "2013", "Yes", "0.57"]), ("0.8", ["14", "x", "x", "x"]))
        for sample, answer in zip(samples, answers, strict=True)
    ]
    path = tmp_path / "hawk.parquet"
    write_table(path, saved, EVALUATION, {"identity": identity})
    found = score_predictions("chartqa", None, path, samples=tmp_path / "samples.parquet")
    assert [(one["pruning_ratio"], one["seed"], one["value"]) for one in found] == [
        ("0.6", 0, 100.0),
        ("0.8", 0, 25.0),
    ]


def test_the_command_prints_the_aggregate_and_writes_rows(tmp_path):
    path, rows = tmp_path / "a.jsonl", tmp_path / "rows.jsonl"
    path.write_text('{"prediction": "95", "references": ["100"], "type": "human_test"}\n')
    arguments = ["--benchmark", "chartqa", "--predictions", str(path), "--rows", str(rows)]
    values = {}
    for protocol in ("vlmevalkit", "ms-vlmeval-0.0.18"):
        done = CliRunner().invoke(score, [*arguments, "--protocol", protocol], catch_exceptions=False)
        found = json.loads(done.stdout)
        values[found["protocol"]] = found["value"]
    assert values == {"vlmevalkit": 100.0, "ms-vlmeval-0.0.18": 0.0}
    assert json.loads(rows.read_text()) == {
        "sample_id": "0",
        "prediction": "95",
        "references": ["100"],
        "parsed": "95",
        "score": 0.0,
        "category": "test_human",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prediction": "A"}\n', "row 0: no column 'answer'"),
        ('{"references": ["A"]}\n', "line 1: needs an object with a text 'prediction'"),
        ('{"prediction": "A", "answer": null}\n', "row 0: nothing in column 'answer'"),
        ("not json\n", "line 1: not JSON"),
        (
            '{"prediction": "A", "prediction": "B", "answer": "A"}\n',
            "line 1: .*'prediction' is written twice",
        ),
        ('{"prediction": "\\ud800", "answer": "A"}\n', "line 1: not JSON .*surrogates not allowed"),
        ('{"prediction": Infinity, "answer": "A"}\n', "line 1: needs an object with a text 'prediction'"),
        ('{"prediction": "inf", "references": [Infinity]}\n', r"line 1: references is \[inf\]"),
        (
            '{"prediction": "A", "sample_id": {"a": 1}, "references": ["A"]}\n',
            "line 1: sample_id is {'a': 1}",
        ),
        ('{"prediction": "A", "sample_id": 1.0, "references": ["A"]}\n', "line 1: sample_id is 1.0; it must"),
        ("\n", "there is no row"),
    ],
)
def test_mistakes_are_named(content, message, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        score_predictions("chartqa", None, path)


def test_rows_are_not_written_over_what_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prediction": "95", "references": ["95"], "type": "human_test"}\n')
    (tmp_path / "link.jsonl").symlink_to(path)
    before = path.read_text()
    for rows in (path, tmp_path / "link.jsonl", f"{tmp_path}/./a.jsonl"):
        with pytest.raises(InputError, match="is what is read; give another name"):
            score_predictions("chartqa", None, path, rows=rows)
    assert path.read_text() == before


@pytest.mark.parametrize("ending", ["tsv", "xlsx"])
def test_a_column_twice_is_refused(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    table = pd.DataFrame([["1", "q", "a", "b", "A", "B", "A", "c"]])
    table.columns = ["index", "question", "A", "B", "answer", "prediction", "prediction", "category"]
    table.to_csv(path, sep="\t", index=False) if ending == "tsv" else table.to_excel(path, index=False)
    with pytest.raises(InputError, match="the column 'prediction' is there 2 times"):
        score_predictions("mmstar", None, path)


def test_missing_rows_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [row for row in hub_rows.mme() if row["question_id"] != "color/0003.png"]
    lone = {"question_id": "color/0003.png", "category": "color", "answer": "No"}
    lines = [{**row, "image": None, "prediction": "Yes"} for row in rows] + [{**lone, "prediction": "No"}]
    for line in lines:
        line.pop("image", None)
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(InputError, match=r"'color/color/0003.png#2' has 1 of its 2 rows"):
        score_predictions("mme", None, path)
    path.write_text("\n".join(json.dumps(line) for line in lines[:-1]))
    with pytest.raises(InputError, match="no row of category 'color'"):
        score_predictions("mme", None, path)


def test_wrong_files(tmp_path):
    (tmp_path / "a.csv").write_text("prediction\nA\n")
    with pytest.raises(InputError, match=r"'.csv'. .*Allowed: .jsonl, .parquet, .tsv, .xlsx"):
        score_predictions("chartqa", None, tmp_path / "a.csv")
    with pytest.raises(InputError, match="there is no such file"):
        score_predictions("chartqa", None, tmp_path / "b.jsonl")
    for ending in ("parquet", "xlsx", "tsv"):
        for content in (b"", b"junk", b"PK\x03\x04 cut off"):
            (tmp_path / f"a.{ending}").write_bytes(content)
            with pytest.raises(InputError, match=rf"a\.{ending}: (not a readable|no column 'prediction')"):
                score_predictions("chartqa", None, tmp_path / f"a.{ending}")
    (tmp_path / "a.jsonl").write_bytes('{"prediction": "\u00e9"}'.encode("latin-1"))
    with pytest.raises(InputError, match="line 1: not JSON"):
        score_predictions("chartqa", None, tmp_path / "a.jsonl")


def test_a_rows_own_score_and_parsed_are_ignored(tmp_path: Path) -> None:
    """The text counts; the help says so."""
    rows = [{"prediction": "12.3", "references": ["12"]}, {"prediction": "blue", "references": ["red"]}]
    plain, told = tmp_path / "plain.jsonl", tmp_path / "told.jsonl"
    plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"score": 1.0, "parsed": "red"}
    told.write_text("".join(json.dumps({**row, **own}) + "\n" for row in rows))
    assert score_predictions("chartqa", None, told) == score_predictions("chartqa", None, plain)
    assert "ignored" in CliRunner().invoke(score, ["--help"]).output
