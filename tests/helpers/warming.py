"""A warm process for tests (hawk.warm), in which jobs of many short runs need not import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import ROOT

from hawk.tools import warm

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), **dict.fromkeys(warm.THREADS, "1")}
WAIT = f"import os, sys; print(os.environ[{warm.VARIABLE!r}], flush=True); sys.stdin.read()"


@contextmanager
def warmed() -> Iterator[dict[str, str]]:
    """The environment of a command beside a warm process, which ends with the context or with us."""
    with subprocess.Popen(
        [sys.executable, "-m", "hawk", "warm", sys.executable, "-c", WAIT],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield {**ENVIRONMENT, warm.VARIABLE: process.stdout.readline().strip()}
        process.communicate()  # closes its standard input
