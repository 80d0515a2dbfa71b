"""What hawk run shows in place of Snakemake's own words, from a program that prints as Snakemake does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hawk.tools import run as tool
from hawk.tools.follow import count_jobs, follow, merged

TABLE = """\
Job stats:
job                count
---------------  -------
ablate_heads_0         3
ablate_heads_1         4
all                    1
head_drops             2
total                 10
""".splitlines()
JOBS = """\
Building DAG of jobs...
localrule prepare_samples:
    output: a
1 of 4 steps (25%) done
rule ablate_heads_2:
    output: b
4 of 4 steps (100%) done
""".splitlines()


def printing(lines: list[str], code: int = 0) -> list[str]:
    script = f"import sys; print({chr(10).join(lines)!r}, file=sys.stderr); sys.exit({code})"
    return [sys.executable, "-c", script]


def test_a_dry_run_is_a_table_with_one_row_per_rule(capfd: pytest.CaptureFixture[str]) -> None:
    assert merged(TABLE) == [*TABLE[:3], "ablate_heads           7", *TABLE[5:]]
    alone = [line for line in TABLE if "ablate_heads" not in line]
    assert merged(alone) == alone
    assert count_jobs(printing(["Nothing to be done."], code=3)) == 3
    assert capfd.readouterr().out.strip() == "Nothing to be done."
    table = [*TABLE, ""]
    assert count_jobs(printing(["Building DAG of jobs...", *table, *table, "Reasons:", "    all"])) == 0
    assert capfd.readouterr().out.splitlines() == ["Building DAG of jobs...", *merged(TABLE)]


def test_a_run_shows_its_beginning_and_then_how_far_it_is(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, progress = follow(printing(JOBS))
    said = capfd.readouterr()
    assert (code, progress.done, progress.total) == (0, 4, 4)
    assert said.err == "Building DAG of jobs...\n"
    assert said.out.startswith("4 of 4 jobs, ")
    assert "output: b" not in said.out + said.err


def test_a_failed_run_ends_in_the_reasons(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    logs = {"refused": "began\nerror: out of disk\n", "killed": "", "stopped": "error: of a part\n8 of 9\n"}
    for name, text in {**logs, "fine": "error: an old one\n"}.items():
        (tmp_path / f"{name}.log").write_text(text)
    lines = [*JOBS[:3], f"    log: {tmp_path}/fine.log"]
    names = ["fine", *logs, "unwritten"]
    for name in [*names, "refused"]:  # a job that is tried again fails twice, or ends well
        path = f"{tmp_path}/{name}.log"
        lines += ["Error in rule a:", "    message: None", f"    jobid: {names.index(name)}"]
        lines += [f"    log: {path} (check log file(s) for error details)"]
    lines += ["Finished jobid: 0 (Rule: a)"]
    code, _ = follow(printing(lines, code=1))
    assert code == 1
    said = capfd.readouterr().err.splitlines()
    end = said[said.index("The run did not finish. The failed jobs said:") + 1 :]
    assert "Error in rule a:" in said
    assert end[0] == f"{tmp_path}/refused.log: error: out of disk"
    killed = "It may have been killed: by someone, by a time limit, or because memory ran out."
    assert end[1] == f"{tmp_path}/killed.log: nothing. {killed}"
    assert end[2] == f"{tmp_path}/stopped.log: 8 of 9, and no error. {killed}"
    assert end[3].startswith(f"{tmp_path}/unwritten.log: this log is not here")


def test_without_a_failed_job_nothing_is_said_of_one(capfd: pytest.CaptureFixture[str]) -> None:
    follow(printing(JOBS[:3], code=1))
    assert capfd.readouterr().err.splitlines()[-1] == "The run did not finish."
    # What stops before any job is shown once, as it comes.
    assert follow(printing(["no such file"], code=1))[0] == 1
    assert capfd.readouterr().err == "no such file\n"


@pytest.mark.parametrize(
    ("arguments", "full", "way"),
    [
        (["--cores", "2"], False, "follow"),
        (["-n"], False, "count"),
        (["--cores", "2", "--dry-run", "--profile", "slurm"], False, "count"),
        (["--profile", "slurm"], False, "snakemake"),
        (["--executor=slurm"], False, "snakemake"),
        (["-n", "--quiet", "rules"], False, "snakemake"),
        (["--cores", "2"], True, "snakemake"),
        (["-n"], True, "snakemake"),
        (["--cores", "2", "--", "-n"], False, "follow"),
    ],
)
def test_who_speaks(
    arguments: list[str], full: bool, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    seen: list[str] = []
    monkeypatch.setattr(tool, "command", lambda *_: printing([]))
    monkeypatch.setattr(tool, "follow", lambda _: seen.append("follow") or (0, None))
    monkeypatch.setattr(tool, "count_jobs", lambda _: seen.append("count") or 0)
    assert tool.run(None, arguments, full) == 0
    assert seen == ([] if way == "snakemake" else [way])


def test_a_dry_run_keeps_its_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(tool, "count_jobs", lambda words: seen.append(words) or 0)
    tool.run(None, ["features", "-n"])
    words = seen[0]
    # --quiet takes every word up to the next option: the target must not stand right behind it.
    assert words[words.index("--quiet") + 1 :][:2] == ["rules", "--nocolor"]
    assert words.index("features") > words.index("--nocolor")
