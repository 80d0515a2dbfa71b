"""Snakemake's questions to Slurm are answered whatever fails (profiles/slurm/bin): a Slurm of scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

COMMANDS = ROOT / "profiles" / "slurm" / "bin"
QUERY = [
    "-X",
    "--parsable2",
    "--clusters",
    "all",
    "--noheader",
    "--format=JobIdRaw,State",
    "--endtime",
    "now",
    "--name",
    "run-1",
]
DISABLED = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
UNREACHABLE = "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1"


class Fake:
    """Slurm's commands as scripts, first on the path behind ours."""

    def __init__(self, folder: Path) -> None:
        self.work, self.bin = folder / "work", folder / "bin"
        self.work.mkdir()
        self.bin.mkdir()

    def set(self, **scripts: str) -> None:
        for name, script in scripts.items():
            (self.bin / name).write_text(f"#!/bin/bash\n{script}\n")
            (self.bin / name).chmod(0o755)

    def ask(self, *words: str, command: str = "sacct", text: str = "") -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(COMMANDS), str(self.bin), "/usr/bin", "/bin"])
        return subprocess.run(
            [str(COMMANDS / command), *words], input=text, capture_output=True, text=True, cwd=self.work,
            env={"PATH": path}, timeout=60,
        )  # fmt: skip

    def states(self) -> dict[str, str]:
        done = self.ask(*QUERY)
        assert done.returncode == 0, done.stderr
        return dict(line.split("|") for line in done.stdout.split())

    def status(self) -> str:
        path = self.work / ".snakemake" / "slurm-queue" / "status.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def slurm(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_the_database_answers_if_there_is_one(slurm: Fake) -> None:
    slurm.set(sacct='echo "5|COMPLETED"; echo "$*" > asked', squeue="echo '5|RUNNING'")
    assert slurm.states() == {"5": "COMPLETED"}
    assert (slurm.work / "asked").read_text().split() == QUERY


def test_the_queue_answers_where_there_is_no_accounting(slurm: Fake) -> None:
    slurm.set(sacct=DISABLED, squeue="echo \"$*\" > asked; echo '7|RUNNING'; echo '8|FAILED'")
    assert slurm.states() == {"7": "RUNNING", "8": "FAILED"}
    assert "--name run-1" in (slurm.work / "asked").read_text()


def test_a_job_that_the_controller_has_forgotten_has_ended(slurm: Fake) -> None:
    slurm.set(sacct=DISABLED, squeue="echo '7|RUNNING'; echo '8|RUNNING'")
    slurm.states()
    slurm.set(squeue="echo '8|RUNNING'")
    assert slurm.states() == {"7": "UNKNOWN", "8": "RUNNING"}
    slurm.set(squeue="true")
    assert slurm.states() == {"7": "UNKNOWN", "8": "UNKNOWN"}


def test_an_outage_is_no_news_and_is_told_once(slurm: Fake) -> None:
    slurm.set(sacct=DISABLED, squeue="echo '7|RUNNING'")
    slurm.states()
    slurm.set(squeue=UNREACHABLE)
    assert slurm.states() == {}
    assert slurm.states() == {}
    assert slurm.status().count("Slurm does not answer") == 1
    slurm.set(squeue="echo '7|COMPLETED'")
    assert slurm.states() == {"7": "COMPLETED"}
    assert slurm.status().count("Slurm answers again") == 1


def test_a_database_that_is_away_declares_no_job_ended(slurm: Fake) -> None:
    """The controller forgets ended jobs early where a database remembers them."""
    slurm.set(sacct="echo 'connection refused' >&2; exit 1", squeue="echo '7|RUNNING'")
    assert slurm.states() == {"7": "RUNNING"}
    slurm.set(squeue="true")
    assert slurm.states() == {}


def test_an_outage_is_told_where_snakemake_prints(slurm: Fake) -> None:
    slurm.set(sacct=DISABLED, squeue=UNREACHABLE)
    # The plugin holds our own stderr; its parent's is what a person sees.
    parent = (
        "import subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE);"
        "print(done.returncode, done.stdout, done.stderr)"
    )
    path = os.pathsep.join([str(COMMANDS), str(slurm.bin), "/usr/bin", "/bin"])
    done = subprocess.run(
        [sys.executable, "-c", parent, str(COMMANDS / "sacct"), *QUERY],
        capture_output=True, text=True, cwd=slurm.work, env={"PATH": path},
    )  # fmt: skip
    assert done.stdout.strip() == "0 b'' b''"
    assert "Slurm does not answer" in done.stderr


def test_why_a_job_failed_and_where_is_asked_of_the_controller(slurm: Fake) -> None:
    job = "JobId=7 JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 NodeList=n2 BatchHost=n2"
    slurm.set(sacct=DISABLED, scontrol=f"echo '{job}'")
    asked = [slurm.ask("-j", f"7.{step}", "--format=Reason", "--noheader").stdout for step in range(2)]
    assert asked == ["Reason NonZeroExitCode,ExitCode 3:0\n", ""]
    assert slurm.ask("-j", "7", "-n", "-X", "-o", "nodelist%-256").stdout == "n2\n"
    assert slurm.ask("-nu", "me", "-o", "Account%256").stdout == ""


def test_a_submission_waits_for_the_controller(slurm: Fake) -> None:
    tries = f"echo x >> tries; if [ $(wc -l < tries) -lt 3 ]; then {UNREACHABLE}; fi"
    slurm.set(sbatch=f"{tries}; echo 12; cat > script")
    done = slurm.ask("--parsable", "/dev/stdin", command="sbatch", text="#!/bin/sh\ntrue\n")
    assert (done.returncode, done.stdout.strip()) == (0, "12")
    assert (slurm.work / "script").read_text() == "#!/bin/sh\ntrue\n"


def test_a_refused_submission_is_refused_at_once(slurm: Fake) -> None:
    slurm.set(sbatch="echo x >> tries; echo 'invalid partition specified: x' >&2; exit 1")
    done = slurm.ask("--parsable", "--wrap=true", command="sbatch")
    assert done.returncode == 1
    assert "invalid partition" in done.stderr
    assert (slurm.work / "tries").read_text() == "x\n"


def test_they_are_installed_and_can_be_started() -> None:
    for name in ("sacct", "sbatch", "sinfo", "sshare"):
        assert os.access(COMMANDS / name, os.X_OK), name


@pytest.mark.parametrize("database", [True, False])
@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("CANCELLED by 1000", "CANCELLED"),
        ("PREEMPTED", "CANCELLED"),
        ("LAUNCH_FAILED", "FAILED"),
        ("RUNNING", "RUNNING"),
        ("NODE_FAIL", "NODE_FAIL"),
    ],
)
def test_states_are_told_in_the_plugins_words(slurm: Fake, database: bool, said: str, known: str) -> None:
    """It compares whole words and waits for ever on one that it does not know."""
    answer = f"echo '7|{said}'; echo '8|COMPLETED'"
    slurm.set(sacct=answer if database else DISABLED, squeue=answer)
    done = slurm.ask(*QUERY)
    assert done.stdout.splitlines()[:2] == [f"7|{known}", "8|COMPLETED"]


def test_only_the_first_step_is_asked_why_it_failed(slurm: Fake) -> None:
    slurm.set(sacct="echo x >> asked; echo NonZeroExitCode")
    said = [slurm.ask("-j", f"7.{step}", "--format=Reason", "--noheader").stdout for step in range(10)]
    assert said == ["NonZeroExitCode\n", *[""] * 9]
    assert (slurm.work / "asked").read_text() == "x\n"


def test_commands_that_hang_are_left_within_the_plugins_minute(slurm: Fake) -> None:
    # Time runs fifty times as fast, and every limit is written down.
    slurm.set(
        timeout='echo "$1" >> limits; s=$1; shift; exec /usr/bin/timeout "$(bc -l <<< "$s / 50")" "$@"',
        bc='read -r a _ b; awk -v a="$a" -v b="$b" "BEGIN { print a / b }"',
        sacct="exec sleep 100",
        squeue="echo '7|RUNNING'",
    )
    assert slurm.states() == {"7": "RUNNING"}
    slurm.set(squeue="exec sleep 100")
    assert slurm.states() == {}
    assert "Slurm does not answer" in slurm.status()
    limits = [int(line) for line in (slurm.work / "limits").read_text().split()]
    assert len(limits) == 5  # three where the queue answers, two where nothing does
    assert sum(limits[:3]) < 55


@pytest.mark.parametrize("reason", ["AssocMaxSubmitJobLimit", "QOSMaxSubmitJobPerUserLimit"])
def test_a_full_queue_is_waited_for(slurm: Fake, reason: str) -> None:
    refusal = f"echo 'sbatch: error: {reason}' >&2; echo 'job submit limit, size and/or time' >&2; exit 1"
    slurm.set(
        sbatch=f"echo x >> tries; if [ $(wc -l < tries) -lt 4 ]; then {refusal}; fi; echo 12",
        sleep='echo "$1" >> waits',
    )
    done = slurm.ask("--parsable", "--wrap=true", command="sbatch")
    assert (done.returncode, done.stdout.strip()) == (0, "12")
    assert (slurm.work / "waits").read_text().split() == ["15"] * 3


def test_a_job_that_can_never_run_is_refused_at_once(slurm: Fake) -> None:
    said = "sbatch: error: AssocMaxWallDurationPerJobLimit\njob submit limit, user's size and/or time limits"
    slurm.set(sbatch=f'echo x >> tries; echo "{said}" >&2; exit 1')
    done = slurm.ask("--parsable", "--wrap=true", command="sbatch")
    assert (done.returncode, done.stderr.strip()) == (1, said)
    assert (slurm.work / "tries").read_text() == "x\n"


@pytest.mark.parametrize("parents", ["{} & sleep 0.5", "({}; true) & sleep 0.5"], ids=["one", "two"])
def test_nothing_is_submitted_for_a_snakemake_that_is_gone(slurm: Fake, parents: str) -> None:
    slurm.set(
        sbatch=f"echo x >> tries; if [ ! -e back ]; then {UNREACHABLE}; fi; touch submitted",
        sleep='exec /bin/sleep "$([ "$1" = 2 ] && echo 0.05 || echo "$1")"',
    )
    path = os.pathsep.join([str(COMMANDS), str(slurm.bin), "/usr/bin", "/bin"])
    command = parents.format(f"{COMMANDS / 'sbatch'} --wrap=true")
    subprocess.run(["bash", "-c", command], cwd=slurm.work, env={"PATH": path}, timeout=60)
    tries = (slurm.work / "tries").read_text()
    assert tries.count("x") > 1, "it asked again while somebody waited"
    time.sleep(0.5)
    (slurm.work / "back").touch()
    time.sleep(0.5)
    assert not (slurm.work / "submitted").exists()


@pytest.mark.parametrize("command", ["sshare", "sinfo"])
def test_an_outage_of_what_is_only_looked_up_fails_no_submission(slurm: Fake, command: str) -> None:
    slurm.set(**{command: UNREACHABLE})
    done = slurm.ask("-o", "%P", command=command)
    assert (done.returncode, done.stdout) == (0, "")
    slurm.set(**{command: 'echo "$*: gpu*"'})
    assert slurm.ask("-o", "%P", command=command).stdout == "-o %P: gpu*\n"
