"""A job that waited for another's output takes it over only if the same settings made it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hawk.cli.options import produce
from hawk.core.atomic import output_lock, write_json
from hawk.core.files import made_by_job, write_table
from hawk.core.provenance import provenance, start_job
from hawk.core.schemas import SCORES


def other_writes(path: str, config: dict, name: str) -> threading.Thread:
    """Another job, which holds the lock for a while and leaves a file made with its own config."""
    held = threading.Event()

    def work() -> None:
        with output_lock(path):
            held.set()
            time.sleep(0.5)
            start_job(config)
            block = provenance({"name": "reference"})
            if name.endswith("json"):
                write_json(path, {"provenance": block})
            else:
                write_table(path, [], SCORES, block)

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(10)
    return thread


@pytest.mark.parametrize("name", ["reference.parquet", "pooled.json"])
@pytest.mark.parametrize(("normalization", "taken_over"), [("l2", True), ("softmax", False)])
def test_only_the_same_settings_are_taken_over(
    tmp_path: Path, name: str, normalization: str, taken_over: bool
) -> None:
    path = str(tmp_path / name)
    start_job({"scoring": {"normalization": "l2"}})
    other = other_writes(path, {"scoring": {"normalization": normalization}}, name)
    done: list[str] = []
    produce(path, lambda: done.append(path))
    other.join()
    assert done == ([] if taken_over else [path])


def test_a_file_of_nobody_is_made_again(tmp_path: Path) -> None:
    start_job({})
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "c.html").write_text("<p>")
    assert {made_by_job(path) for path in tmp_path.iterdir()} == {None}
