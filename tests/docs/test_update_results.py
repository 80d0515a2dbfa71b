"""docs/update_results.py, run as a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_without_a_finished_run_it_says_what_makes_one(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for script in (ROOT / "docs").glob("*results*.py"):
        (docs / script.name).write_bytes(script.read_bytes())
    done = subprocess.run(
        [sys.executable, str(docs / "update_results.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "There is no finished run under outputs/: make demo" in done.stderr
