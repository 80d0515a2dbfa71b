"""``hawk run``: the workflow that comes with hawk, from any folder.

``hawk run --configfile tiny_internvl --cores 2`` is ``snakemake --cores 2`` with the shipped Snakefile
and config. Outputs go to ``outputs/`` of the working directory. Snakemake itself finds the profile
``default`` beside the Snakefile, or ``profiles/default`` of the working directory in its place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile

from hawk.core import extras
from hawk.core.errors import InputError
from hawk.core.shipped import config_file, profile, shipped
from hawk.tools.follow import count_jobs, follow

DEFAULT = "config"  # the demo: config/config.yaml
PROFILE_OPTIONS = ("--profile", "--workflow-profile")
DRY_RUN = {"-n", "--dry-run", "--dryrun"}
OUTPUT_OPTIONS = {"--quiet", "-q", "--verbose", "--printshellcmds", "-p"}
ELSEWHERE = {*PROFILE_OPTIONS, "--executor", "-e"}


def command(configfile: str | None, arguments: Iterable[str] = ()) -> list[str]:
    """The Snakemake command of a run.

    Parameters
    ----------
    configfile : a path, or a shipped config by its bare name (``tiny_internvl``); None is the demo's.
    arguments : further options and targets of Snakemake. The value of ``--profile`` may name a shipped one.

    Raises InputError for a config that is nowhere, several, and where Snakemake is not installed.
    """
    arguments = list(arguments)
    for word in takewhile(lambda word: word != "--", arguments):
        if word.startswith("--configf"):  # Snakemake would take the last of two, which is ours
            raise InputError(f"{word}: hawk run takes one config, as --configfile NAME.")
    extras.need("snakemake")
    config = str(config_file(DEFAULT if configfile is None else configfile))
    words = _with_profiles(arguments)
    # Last, for it takes every word up to the next option; before "--", behind which only targets stand.
    end = words.index("--") if "--" in words else len(words)
    words[end:end] = ["--configfile", config]
    return [sys.executable, "-m", "snakemake", "--snakefile", str(shipped("Snakefile")), *words]


def run(configfile: str | None, arguments: Sequence[str] = (), full_output: bool = False) -> int:
    """Run the shipped workflow in the working directory; returns Snakemake's exit code.

    On this machine it shows stage, jobs done and time left, and of a dry run the number of jobs per rule. On
    a cluster, with an option about output, or with ``full_output``, Snakemake speaks itself.
    """
    options = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", arguments)]
    snakemakes_words = full_output or not OUTPUT_OPTIONS.isdisjoint(options)
    if not snakemakes_words and not DRY_RUN.isdisjoint(options):
        # --quiet takes every word up to the next option, which a target must not be. "rules": the table.
        return count_jobs(command(configfile, ["--quiet", "rules", "--nocolor", *arguments]))
    elsewhere = not ELSEWHERE.isdisjoint(options) or "SNAKEMAKE_PROFILE" in os.environ
    if not snakemakes_words and not elsewhere:
        return follow(command(configfile, arguments))[0]
    process = subprocess.Popen(command(configfile, arguments))
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent it to Snakemake too, which ends its jobs and says so


def _with_profiles(arguments: Iterable[str]) -> list[str]:
    """The arguments, names of shipped profiles replaced by their place."""
    words: list[str] = []
    expected = False
    for word in arguments:
        option, equals, value = word.partition("=")
        if expected and not word.startswith("-"):
            words.append(profile(word))
            continue  # --profile takes several
        if equals and option in PROFILE_OPTIONS:
            word = f"{option}={profile(value)}"
        words.append(word)
        expected = word in PROFILE_OPTIONS
    return words
