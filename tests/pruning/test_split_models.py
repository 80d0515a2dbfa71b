"""A model split over two processes (``tp_plan="auto"``): right, or refused in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matrix import PRUNERS
from tiny_random import MODELS

SCRIPT = Path(__file__).parents[1] / "helpers" / "split_model.py"
# What reads heads, of which a process has some only.
READ_HEADS = {
    name
    for name, (method, options) in PRUNERS.items()
    if {method, options.get("scorer", {}).get("method")} & {"hawk", "fastv", "dart"}
} | {"ablation"}


@pytest.mark.long
def test_two_processes(tmp_path):
    MODELS["qwen2_5_vl"]().save_pretrained(tmp_path)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT, tmp_path]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": f"{SCRIPT.parent}:{SCRIPT.parents[2]}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found, control = (
        json.loads(line.removeprefix(f"{kind} "))
        for kind in ("FOUND", "CONTROL")
        for line in done.stdout.splitlines()
        if line.startswith(f"{kind} ")
    )
    for name, outcome in found.items():
        if name in READ_HEADS:
            assert "is split over processes (tp_plan, FSDP)" in outcome, (name, outcome)
        else:
            assert outcome == "same", (name, outcome)
    assert found.keys() == {*PRUNERS, "ablation"}
    # Against the whole model unpruned the same comparison tells every one of them.
    assert control == dict.fromkeys(set(PRUNERS) - READ_HEADS, "other")
