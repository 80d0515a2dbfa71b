"""Who only prunes needs only the base dependencies; who needs more is told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EMBEDDED, ROOT

from hawk.core.extras import MESSAGE, WORKFLOW, explain

PRUNE = f"""
import hawk
import numpy as np
from PIL import Image

vlm = hawk.load({str(EMBEDDED)!r}, device="cpu")
assert len(hawk.HeadWeights.load("qwen2.5-vl-7b").weights) == 28
pruner = hawk.Hawk(weights=hawk.HeadWeights.uniform(vlm.geometry), pruning_ratio=0.8)
image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
said = [{{"type": "image", "image": image}}, {{"type": "text", "text": "what shape is blue?"}}]
inputs = vlm.processor.apply_chat_template(
    [{{"role": "user", "content": said}}], tokenize=True, add_generation_prompt=True, return_dict=True,
    return_tensors="pt",
)
with pruner.attach(vlm.model):
    out = vlm.model.generate(**inputs, max_new_tokens=4)
print(pruner.last.kept_tokens, out.shape[0])
"""


def base_only(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code where nothing of the extra "workflow" can be imported."""
    forbid = f"from without import forbid; forbid(*{WORKFLOW!r})\n"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    return subprocess.run(
        [sys.executable, "-c", forbid + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_a_model_is_pruned_with_the_base_dependencies(tmp_path: Path) -> None:
    done = base_only(PRUNE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[13]", "1"]
    # The control: what measures needs more.
    assert "No module named 'pyarrow'" in base_only("import hawk.core.files", tmp_path).stderr


def test_hawk_generate_needs_no_more(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), (0, 0, 255)).save(tmp_path / "blue.png")
    words = ["generate", "data/models/tiny-qwen2.5-vl", "what shape is blue?", "--image", "blue.png"]
    done = base_only(f"from hawk.cli.main import cli; cli({words!r})", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "KV cache" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["run", "-n"], ["demo"], ["plan", "--config", "config"], ["show", "none.json"]],
    ids=lambda words: words[0],
)
def test_a_command_that_needs_the_extra_says_so_in_one_line(words: list[str], tmp_path: Path) -> None:
    code = f"import sys; sys.argv = ['hawk', *{words!r}]; from hawk.cli.main import main; main()"
    done = base_only(code, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {MESSAGE}\n"


def test_another_missing_module_is_no_matter_of_extras() -> None:
    assert explain(ModuleNotFoundError("No module named 'yaml'", name="yaml")) is None
    assert explain(ModuleNotFoundError("No module named 'pyarrow.fs'", name="pyarrow.fs")) == MESSAGE
    assert explain(ImportError("pandas", name="pandas")) is None
