"""The benchmarks: their other sides choose the same, and every script runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

sys.path.insert(0, str(Path(__file__).parent))

import aims
import bench
import bench_pruners
import rivals

from hawk.pruning.methods.cdpruner import determinantal
from hawk.pruning.methods.divprune import max_min_diverse
from hawk.pruning.similarity import min_max, unit


@pytest.mark.parametrize("seed", range(5))
def test_the_published_formulations_choose_what_ours_choose(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(80, 48, generator=generator)
    question = torch.randn(6, 48, generator=generator)
    vectors = unit(features)
    relevance = min_max(vectors @ unit(question.mean(0)), 1e-6)
    ours = max_min_diverse(vectors, 16).tolist()
    assert rivals.divprune(features, 16).tolist() == ours
    assert rivals.divprune(features + 0.3 * question[0], 16).tolist() != ours
    ours = determinantal(vectors, relevance, 16).tolist()
    assert rivals.cdpruner(features, question, 16).tolist() == ours
    assert rivals.cdpruner(features, -question, 16).tolist() != ours


def test_a_failing_script_is_on_the_page_and_in_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests" / "perf").mkdir(parents=True)
    for name, code in (
        ("bench_good.py", "from aims import aim\nprint('a table')\naim('speed', 3, 'x', least=2)"),
        ("bench_bad.py", "raise SystemExit('no room')"),
    ):
        (tmp_path / "tests" / "perf" / name).write_text(f'"""What {name} measures."""\n{code}\n')
    shutil.copy(aims.__file__, tmp_path / "tests" / "perf")
    monkeypatch.setattr(bench, "FOLDER", tmp_path / "tests" / "perf")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "SCRIPTS", {"bench_bad.py": "Bad", "bench_good.py": "Good"})
    assert bench.main(["--out", str(tmp_path / "page.md")]) == 1
    page = (tmp_path / "page.md").read_text()
    assert "```text\na table\n```" in page
    assert "ended with code 1: no room" in page
    assert "What bench_good.py measures." in page
    assert (
        "1 of 1 aims are reached. Ended before its end, so that aims of it may be missing: Bad. The" in page
    )
    assert "| speed | 3 x | at least 2 x | reached |" in page
    assert "\naim |" not in page
    # --only runs one again; the others stand as they were, in their order, and the aims are counted anew.
    good = tmp_path / "tests" / "perf" / "bench_good.py"
    good.write_text(good.read_text().replace("a table", "another table").replace("3, 'x'", "1, 'x'"))
    assert bench.main(["--out", str(tmp_path / "page.md"), "--only", "bench_good.py"]) == 0
    again = (tmp_path / "page.md").read_text()
    assert "0 of 1 aims are reached. Not reached: speed. Ended before its end" in again
    assert "another table" in again
    assert "a table\n```" not in again.replace("another table", "")
    before, after = (one[one.index("## Bad") : one.index("## Good")] for one in (page, again))
    assert before == after


def test_a_script_out_of_time_is_stopped_and_keeps_what_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('half', flush=True)\ntime.sleep(600)\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    code, out, err = bench.ended(["slow.py"], 20)
    assert (code, out) == (bench.OUT_OF_TIME, "half\n")
    assert "minutes of the whole were over" in err


def test_an_aim_is_told_whichever_side_it_is_on(capsys: pytest.CaptureFixture[str]) -> None:
    aims.aim("ratio", 1.5, "x", least=2)
    aims.aim("time", 1.5, "s", most=2)
    aims.aim("no number", float("nan"), "s", most=2)
    rows, rest = aims.taken_out(f"before\n{capsys.readouterr().out}after")
    assert [row[-1] for row in rows] == ["not reached", "reached", "not reached"]
    assert rest == "before\nafter"
    assert aims.counted(aims.table(rows)) == "1 of 3 aims are reached. Not reached: ratio; no number."


@pytest.mark.parametrize(
    ("seconds", "words"), [(599, "20.0 minutes together."), (660, "21.0 minutes together, more")]
)
def test_what_one_run_cannot_have_made_is_told(seconds: int, words: str) -> None:
    sections = {
        title: f"## {title}\n\n`OMP_NUM_THREADS=1 python {title}.py`: {took} s, 5 s of CPU; a machine\n"
        for title, took in (("a", 600), ("b", seconds))
    }
    assert f" The parts took {words}" in bench.page_of(sections)


def test_cores_that_may_not_be_used_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 6}, raising=False)
    assert ", 2 of 8 cores, " in bench.machine()
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert ", 2 cores, " in bench.machine()


def test_what_a_command_leaves_behind_is_counted(tmp_path: Path) -> None:
    """As `hawk warm` leaves the process whose forks are the jobs."""
    (tmp_path / "work.py").write_text("import time\nwhile time.process_time() < 0.5: pass\n")
    command = ["sh", "-c", f"{sys.executable} work.py &"]
    code = f"from bench_start import spent; print(spent({command}, {str(tmp_path)!r})[1])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert 0.5 <= float(done.stdout) < 5


def test_what_is_compared_is_measured_more_than_once() -> None:
    """However long a call takes; without a spread a ratio near 1 says nothing."""
    calls: list[int] = []
    times, peak = bench_pruners.measure(lambda: calls.append(1), "cpu", -1.0, least=3, memory=False)
    assert len(times) == 3
    assert len(calls) == 4  # and the cold one
    assert peak != peak


def test_every_script_is_on_the_page() -> None:
    there = {path.name for path in (ROOT / "tests" / "perf").glob("bench_*.py")}
    assert there == set(bench.SCRIPTS)


@pytest.mark.long
@pytest.mark.parametrize("script", bench.SCRIPTS)
def test_it_runs(script: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "tests/perf/bench.py",
        "--quick",
        "--out",
        tmp_path / "page.md",
        "--only",
        script,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
