"""The real lmms-eval on the embedded models, against hawk's own scoring of the same samples.

Runs where lmms-eval is installed: ``make test-plugins``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from own_rows import TASK, own_rows

pytestmark = pytest.mark.plugins

MODELS = {"hawk_qwen2_5_vl": "tiny-qwen2.5-vl", "hawk_internvl_hf": "tiny-internvl3"}
# What lmms-eval's Qwen class would do otherwise is enlarge every image to 256 x 28 x 28 pixels.
SIZE = {"hawk_qwen2_5_vl": "min_pixels=4096,max_pixels=4096", "hawk_internvl_hf": "max_patches=4"}


def lmms_eval(out: Path, model: str, arguments: str, batch: int = 1) -> Any:
    """Run the command line of lmms-eval on one CPU; its output, for whoever wants the error."""
    words = ["-m", "lmms_eval", "--model", model, "--tasks", "hawk_scenes", "--include_path", TASK]
    words += ["--batch_size", batch, "--log_samples", "--output_path", out, "--device", "cpu"]
    path = ROOT / "data" / "models" / MODELS[model]
    words += ["--model_args", f"pretrained={path},device_map=cpu,{SIZE[model]},{arguments}".rstrip(",")]
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(out / "hf")},
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip


def results(out: Path, model: str, arguments: str, batch: int = 1) -> tuple[list[Any], float]:
    """(logged samples by number, the task's score)"""
    done = lmms_eval(out, model, arguments, batch)
    assert done.returncode == 0, done.stdout + done.stderr
    (samples,) = out.rglob("*_samples_hawk_scenes.jsonl")
    (summary,) = out.rglob("*_results.json")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    score = json.loads(summary.read_text())["results"]["hawk_scenes"]["exact,none"]
    return sorted(rows, key=lambda row: row["doc_id"]), score


def compare(rows: list[Any], score: float, own: list[dict[str, Any]]) -> None:
    assert len(rows) == len(own) == 64
    for row, expected in zip(rows, own, strict=True):
        assert row["filtered_resps"].strip() == expected["prediction"].strip(), row["doc_id"]
        (counts,) = row["token_counts"]
        assert counts["visual_tokens"] == expected["visual_tokens"]
        assert counts["kept_tokens"] == expected["kept_tokens"]
        assert counts["output_tokens"] > 0
    assert score == pytest.approx(sum(row["score"] for row in own) / 64)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("ratio", ["0", "0.8"])
def test_qwen_answers_as_in_hawk(tmp_path: Path, ratio: str, batch: int) -> None:
    rows, score = results(tmp_path, "hawk_qwen2_5_vl", f"ratio={ratio}", batch)
    compare(rows, score, own_rows(MODELS["hawk_qwen2_5_vl"], ratio, "bfloat16"))
    # The control: other kept tokens are other answers.
    other = own_rows(MODELS["hawk_qwen2_5_vl"], "0.95", "bfloat16")
    assert [r["filtered_resps"] for r in rows] != [r["prediction"] for r in other]


def test_a_method_inside_the_model_answers_as_in_hawk(tmp_path: Path) -> None:
    rows, score = results(tmp_path, "hawk_qwen2_5_vl", "ratio=0.8,method=fastv,layer=1", 4)
    compare(rows, score, own_rows(MODELS["hawk_qwen2_5_vl"], "0.8", "bfloat16", "fastv", layer=1))


def test_the_page_shows_what_lmms_eval_prints(tmp_path: Path) -> None:
    page = (ROOT / "docs/integrations.md").read_text(encoding="utf-8")
    fences = re.search(r"```bash\n(lmms-eval [^`]* hawk_scenes [^`]*)```\n\n```text\n([^`]*)```", page)
    assert fences is not None
    command, shown = fences.groups()
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        ["bash", "-euc", command.replace("build/lmms-eval", str(tmp_path))],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **own},
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in shown.splitlines() if line.strip() not in done.stdout] == []


@pytest.mark.parametrize("ratio", ["0", "0.8"])
def test_internvl_answers_as_in_hawk(tmp_path: Path, ratio: str) -> None:
    """lmms-eval's class of it takes single samples only."""
    rows, score = results(tmp_path, "hawk_internvl_hf", f"ratio={ratio}")
    compare(rows, score, own_rows(MODELS["hawk_internvl_hf"], ratio, "bfloat16"))
