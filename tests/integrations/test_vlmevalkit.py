"""The real VLMEvalKit, by ``hawk vlmevalkit``, against hawk's own scoring of the same samples.

Runs where ms-vlmeval is installed: ``make test-plugins``.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EMBEDDED, ROOT
from own_rows import docs, own_rows

pytestmark = pytest.mark.plugins
pd = pytest.importorskip("pandas")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VLMEvalKit's folder of data sets with the task as a TSV of its own form."""
    folder = tmp_path_factory.mktemp("LMUData")
    rows = [
        {
            "index": i, "question": doc["question"], "answer": doc["answer"],
            "image": base64.b64encode(doc["image"]).decode(),
        }
        for i, doc in enumerate(docs())
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "hawk_scenes.tsv", sep="\t", index=False)
    return folder


def vlmevalkit(data: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parent / "on_cpu.py"
    return subprocess.run(
        [sys.executable, str(script), str(EMBEDDED), "vlmevalkit", *words],
        env={**os.environ, "LMUData": str(data), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip


@pytest.mark.parametrize("ratio", ["0", "0.8"])
def test_answers_are_those_of_hawk(data: Path, tmp_path: Path, ratio: str) -> None:
    words = ["--ratio", ratio, "--model", "hawk-Tiny", "--data", "hawk_scenes", "--mode", "infer"]
    done = vlmevalkit(data, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    found = list(tmp_path.glob(f"outputs/hawk-{ratio}-*/hawk-Tiny/hawk-Tiny_hawk_scenes.*"))
    assert len(found) == 1, done.stdout + done.stderr
    frame = (pd.read_excel if found[0].suffix == ".xlsx" else pd.read_csv)(found[0], dtype=str)
    said = [text.strip() for text in frame.sort_values("index", key=lambda c: c.astype(int))["prediction"]]
    own = own_rows(EMBEDDED.name, ratio, "float32")
    assert said == [row["prediction"].strip() for row in own]
    # The control: other kept tokens are other answers.
    assert said != [row["prediction"].strip() for row in own_rows(EMBEDDED.name, "0.95", "float32")]
