"""Contracts of files: atomic writes, checks on reading, digests, locks."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hawk.core import atomic, files, schemas
from hawk.core.errors import InputError
from hawk.core.provenance import provenance

ROW = {
    "sample_id": "a", "prediction": "yes", "parsed": None, "score": 0.0, "reference_logprob": -1.5,
    "margin": None, "first_word_score": None, "stopped": True,
    "prompt_tokens": 9, "visual_tokens": 4, "kept_tokens": 2,
}  # fmt: skip


def write(path: Path, rows: list[dict], **identity: str) -> Path:
    files.write_table(path, rows, schemas.SCORES, provenance(identity, batch_size=1))
    return path


def test_a_table_comes_back_as_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [ROW], head="L0H1")
    table = files.read_table(path, schemas.SCORES, {"head": "L0H1"})
    assert table.to_pylist() == [ROW]
    assert files.provenance_of(table, path)["settings"] == {"batch_size": 1}


def test_an_identity_unlike_the_path_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "L0H2.parquet", [ROW], head="L0H1")
    with pytest.raises(InputError, match=r"the file says head 'L0H1', its path says 'L0H2'"):
        files.read_table(path, schemas.SCORES, {"head": "L0H2"})


def test_another_schema_a_foreign_file_and_half_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"score": [1]}), path)
    with pytest.raises(InputError, match="not the expected"):
        files.read_table(path, schemas.SCORES)
    pq.write_table(pa.Table.from_pylist([ROW], schema=schemas.SCORES), path)
    with pytest.raises(InputError, match="no provenance"):
        files.read_table(path, schemas.SCORES)
    whole = write(path, [ROW]).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable parquet"):
        files.read_table(path, schemas.SCORES)


@pytest.mark.parametrize("columns", [None, ["sample_id", "stopped"]])
def test_a_file_of_an_earlier_version_is_called_that(tmp_path: Path, columns: list[str] | None) -> None:
    fields = [field for field in schemas.SCORES if field.name not in ("stopped", "first_word_score")]
    path = tmp_path / "old.parquet"
    made = provenance({})
    files.write_table(path, [ROW], pa.schema(fields), made)
    with pytest.raises(InputError, match=r"earlier version of hawk; it has no column .*stopped\. Delete it"):
        files.read_table(path, schemas.SCORES, columns=columns)
    assert files.read_table(path, schemas.SCORES, columns=["score"]).num_rows == 1
    others = [
        pa.schema([*fields, ("mood", pa.string())]),  # no version has that column
        pa.schema([field.with_type(pa.float32()) if field.name == "score" else field for field in fields]),
    ]
    for schema in others:
        files.write_table(path, [ROW], schema, made)
        with pytest.raises(InputError, match="are not the expected"):
            files.read_table(path, schemas.SCORES)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [ROW])
    before = path.read_bytes()
    with pytest.raises(RuntimeError), atomic.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_digest_sees_values_and_nothing_of_the_provenance(tmp_path: Path) -> None:
    one = write(tmp_path / "1.parquet", [ROW], head="L0H1")
    two = write(tmp_path / "2.parquet", [ROW], head="L0H2")
    other = write(tmp_path / "3.parquet", [{**ROW, "score": 1e-300}], head="L0H1")
    assert files.digest(one) == files.digest(two)
    assert files.digest(one) != files.digest(other)


def _hold(path: str, seconds: float, log: str) -> None:
    with atomic.output_lock(path) as waited:
        with open(log, "a") as file:
            file.write(f"in {waited}\n")
        time.sleep(seconds)
        with open(log, "a") as file:
            file.write("out\n")


def test_two_writers_of_one_output_take_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_hold, args=(str(tmp_path / "out"), 0.5, str(log))) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = log.read_text().split("\n")[:-1]
    assert [line.split()[0] for line in lines] == ["in", "out"] * 3  # never two inside
    assert "in True" in lines  # somebody waited and was told so
    assert not list(tmp_path.glob(".out.lock"))


def test_a_place_below_a_dead_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(InputError, match="link is no folder"),
        atomic.atomic_path(tmp_path / "link" / "x.json"),
    ):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["link"]


def test_folders_made_for_an_output_go_if_nothing_came_of_it(tmp_path: Path) -> None:
    """A wrong name left outputs/RUN/evaluation behind, by which the folder was taken for a run's."""
    (tmp_path / "there").mkdir()
    path = tmp_path / "there/run/evaluation/toy.parquet"
    with pytest.raises(InputError), atomic.output_lock(path):
        raise InputError("no such variant")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with atomic.output_lock(path):
        path.write_text("x")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    with pytest.raises(InputError), atomic.output_lock(path.with_name("other")):
        raise InputError("no such variant")
    assert path.read_text() == "x"


def _lock_often(path: str, times: int) -> None:
    for _ in range(times):
        with atomic.output_lock(path):
            pass


def test_an_empty_folder_is_removed_under_nobody(tmp_path: Path) -> None:
    """Two writers of one new folder: the one that fails removes it while the other enters."""
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "new/deep"
    writers = [context.Process(target=_lock_often, args=(str(path / name), 2000)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
