"""Bad input of every kind ends in one line: no traceback, no hang, no write elsewhere, no process started.

Some 300 inputs here, eight times as many when marked ``long``; the same ones every time.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import click
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from factories import toy_benchmarks
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from mutations import HOSTILE, bad_bytes, bad_values
from workplace import Workplace, ended, hawk, watched

from hawk.cli.main import cli
from hawk.core import files, schemas
from hawk.core.errors import InputError
from hawk.core.provenance import provenance
from hawk.inference.feature_store import FeatureStore, feature_writer
from hawk.models.base import VisualItem

RUN = "outputs/toy"
TABLES = {
    f"{RUN}/drops/zero.parquet": schemas.DROPS,
    f"{RUN}/scores/toy/zero/L0H1.parquet": schemas.SCORES,
    f"{RUN}/evaluation/toy/divprune.parquet": schemas.EVALUATION,
    f"{RUN}/samples/evaluation/toy.parquet": schemas.SAMPLES,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("fuzz")
    before = os.getcwd()
    with toy_benchmarks():
        made = Workplace.make(folder)
        os.chdir(folder)
        yield made
        os.chdir(before)


def configs(place: Workplace, random: Random) -> None:
    good = (place.folder / "config.yaml").read_bytes()
    bad = bad_bytes(good, random)
    if random.random() < 0.75:
        bad = yaml.safe_dump(bad_values(yaml.safe_load(good), random), sort_keys=False).encode()
    with place.changed("config.yaml", bad):
        hawk("plan", "--config", "config.yaml")


def definitions(place: Workplace, random: Random) -> None:
    name = random.choice(["mine.yaml", "mine.csv"])
    good = (place.folder / name).read_bytes()
    bad = bad_bytes(good, random)
    if name == "mine.yaml" and random.random() < 0.75:
        bad = yaml.safe_dump(bad_values(yaml.safe_load(good), random), sort_keys=False).encode()
    lines = [{"id": "1", "prediction": "red", "references": ["red"]}]
    (place.folder / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with place.changed(name, bad):
        hawk("plan", "--config", "config.yaml")
        hawk("score", "--benchmark", "mine", "--definition", "mine.yaml", "--predictions", "p.jsonl")


def weight_files(place: Workplace, random: Random) -> None:
    name = random.choice(["w.json", f"{RUN}/stability/zero.json"])
    good = (place.folder / name).read_bytes()
    bad = bad_bytes(good, random)
    if random.random() < 0.75:
        bad = json.dumps(bad_values(json.loads(good), random)).encode()
    with place.changed(name, bad):
        hawk("show", name)
        hawk("plan", "--config", "config.yaml")


def tables(place: Workplace, random: Random) -> None:
    name = random.choice([*TABLES])
    good = (place.folder / name).read_bytes()
    bad = bad_bytes(good, random)
    if random.random() < 0.75:
        table = pq.read_table(name, partitioning=None)
        made = files.provenance_of(table, name)
        frame = table.to_pandas()
        column, row = random.choice(table.column_names), random.randrange(len(frame))
        values = frame[column].tolist()
        values[row] = random.choice(HOSTILE)
        if random.random() < 0.3:
            made = bad_values(made, random)
        try:
            changed = frame.assign(**{column: pd.Series(values, dtype=object)})
            files.write_table("bad.parquet", changed, TABLES[name], made)
            bad = Path("bad.parquet").read_bytes()
        except (TypeError, ValueError, OverflowError):
            pass  # no such file can be written: its bytes are bad instead
    with place.changed(name, bad):
        hawk("show", name)
        if "/drops/" in name:
            config = json.dumps(place.config)
            hawk("head-weights", "--config", config, "--run-dir", RUN, "--recipe", "zero", output=RUN)


def predictions(place: Workplace, random: Random) -> None:
    rows = [
        {"sample_id": str(i), "prediction": "yes", "references": ["yes"], "options": [],
         "category": "existence", "group_id": f"g{i // 2}", "metric_group": f"m{i // 2}",
         "question": "Is it?"}
        for i in range(4)
    ]  # fmt: skip
    bad = b"\n".join(json.dumps(row).encode() for row in bad_values(rows, random))
    if random.random() < 0.25:
        bad = bad_bytes(bad, random)
    name = random.choice(["p.jsonl", "p.tsv", "p.xlsx", "p.parquet"]) if random.random() < 0.3 else "p.jsonl"
    Path(name).write_bytes(bad)
    hawk(
        "score",
        "--benchmark",
        random.choice(["mme", "mmstar", "gqa", "chartqa", "toy"]),
        "--predictions",
        name,
    )


def features(place: Workplace, random: Random) -> None:
    path = "f.safetensors"
    made = provenance({"role": "r", "benchmark": "b"}, model={"id": "m"}, preprocessing={})
    with feature_writer(path, made) as add:
        add("one", VisualItem(torch.arange(1.0, 33.0).reshape(4, 8), (1, 2, 2), meta={"grid_thw": [1, 4, 4]}))
    good = Path(path).read_bytes()
    length = int.from_bytes(good[:8], "little")
    if random.random() < 0.6:
        header = json.loads(good[8 : 8 + length])
        inner = {key: json.loads(value) for key, value in header["__metadata__"].items()}
        changed = bad_values(inner, random)
        header["__metadata__"] = {key: json.dumps(value) for key, value in changed.items()}
        text = json.dumps(header).encode()
        Path(path).write_bytes(len(text).to_bytes(8, "little") + text + good[8 + length :])
    else:
        Path(path).write_bytes(bad_bytes(good, random))
    with watched() as watch:
        try:
            store = FeatureStore(path, {"role": "r", "benchmark": "b"})
            store.check({"id": "m"}, {}, 8)
            item = store["one"]
            assert torch.isfinite(item.features).all()
            ended["accepted"] += 1
        except InputError:
            ended["clear line"] += (
                1  # what it says is tested with the readers; here only that it is no other error
            )
    assert not watch.wrong


# Not these: they train, download, serve or hand their words to another program, as they are told to.
LEFT_OUT = ("train-tiny", "demo", "run", "warm", "fetch")


def command_lines(place: Workplace, random: Random) -> None:
    name = random.choice([one for one in sorted(cli.commands) if one not in LEFT_OUT])
    texts = [one for one in HOSTILE if isinstance(one, str) and "\0" not in one and len(one) < 5000]
    texts += [
        *(table for table in TABLES if "samples" not in table),
        "w.json",
        "config.yaml",
        "{}",
        '{"run": "toy"}',
        RUN,
        "outputs",
        "none",
    ]
    texts += ["outputs/toy/samples/evaluation/none.parquet", "outputs/toy/scores/toy/zero/L9H9.parquet"]
    words = [name]
    for parameter in cli.commands[name].params:
        if random.random() < (0.9 if parameter.required else 0.3):
            value = random.choice(texts)
            if isinstance(parameter, click.Option):
                words += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], value]
            else:
                words += [value]
    # What is named as the output may be written, and nothing else: only harmless names are.
    outputs = [
        i for i, word in enumerate(words) if word in ("--output", "--rows", "--save-overlay", "--ledger")
    ]
    for i in outputs:
        words[i + 1] = f"{RUN}/new.txt"
    hawk(*words, output=RUN)


KINDS: dict[str, Callable[[Workplace, Random], None]] = {
    "configs": configs,
    "definitions": definitions,
    "weight files": weight_files,
    "tables": tables,
    "predictions": predictions,
    "features": features,
    "command lines": command_lines,
}


def thrown(place: Workplace, kind: str, count: int) -> None:
    @seed(0)
    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(number=st.integers(0, 2**64 - 1))
    def throw(number: int) -> None:
        KINDS[kind](place, Random(number))

    ended.clear()
    throw()
    print(f"\n{kind}: {count} inputs; commands: {dict(ended)}")


def test_the_watch_sees_what_it_is_to_see(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what a bad command would do is noticed, and what it may do is not."""
    with watched(RUN) as watch:
        Path(RUN, "allowed").write_text("x")
        assert not watch.wrong
        Path("elsewhere").write_text("x")
        subprocess.run(["true"], check=True)
        os.system("true")
        Path("folder").mkdir()
        Path("elsewhere").rename("moved")
    assert [words.split()[0] for words in watch.wrong] == ["wrote", "started", "started", "wrote", "wrote"]
    monkeypatch.setattr("hawk.tools.show.show", lambda path: 1 / 0)
    with pytest.raises(AssertionError, match="exit code 1"):
        hawk("show", "w.json")
    with pytest.raises(AssertionError, match="did not end within"), watched(seconds=1):
        time.sleep(5)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input(place: Workplace, kind: str) -> None:
    thrown(place, kind, 45)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_much_more_bad_input(place: Workplace, kind: str) -> None:
    thrown(place, kind, 350)
