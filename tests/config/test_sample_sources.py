"""Which files of a user's own a benchmark's samples are made from: an edit of any makes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawk.config.queries import sample_sources

DEFINITION = "columns: {question: q, answer: a, image: i}\nprompt: '{question}'\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "folder/part").mkdir(parents=True)
    for name in ("one.csv", "folder/b.parquet", "folder/part/a.parquet", "folder/notes.txt"):
        (tmp_path / name).write_text("q,a,i\n")
    (tmp_path / "one.yaml").write_text(f"file: one.csv\n{DEFINITION}")
    (tmp_path / "many.yaml").write_text(f"file: folder\n{DEFINITION}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"definition": "one.yaml"}, ["one.yaml", "one.csv"]),
        ({"definition": "~/one.yaml"}, ["~/one.yaml", "~/one.csv"]),
        ({"definition": "~/many.yaml"}, ["~/many.yaml", "~/folder/b.parquet", "~/folder/part/a.parquet"]),
        ({"path": "folder"}, ["folder/b.parquet", "folder/part/a.parquet"]),
        ({"path": "~/folder/b.parquet"}, ["~/folder/b.parquet"]),
        ({"path": "someone/dataset"}, []),
        ({}, []),
    ],
)
def test_the_files_that_a_benchmark_names(options: dict[str, str], named: list[str], home: Path) -> None:
    found = sample_sources(
        {"data": {"gqa" if "path" in options else "own": options}},
        "own" if "definition" in options else "gqa",
    )
    assert found == [name.replace("~", str(home)) for name in named]
    assert all(Path(name).is_file() for name in found)
