"""docs/outputs.md is what the schemas say."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from conftest import ROOT

from hawk.core import schemas
from hawk.core.paths import KINDS, RunPaths

SCRIPT = ROOT / "docs" / "generate_outputs.py"
PAGE = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("generate_outputs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_every_path_of_a_run_is_on_the_page() -> None:
    """By the methods of RunPaths, whatever the script knows of them."""
    named = re.sub("<[a-z]+>|pooled", "<>", PAGE)
    for name in KINDS:
        method = getattr(RunPaths, name)
        words = [word for word in inspect.signature(method).parameters if word != "self"]
        path = method(RunPaths("."), *("parquet" if word == "ending" else "<>" for word in words))
        if name != "table":  # the rules know their names
            assert path.removeprefix("./").replace("figures/<>.parquet", "figures/<>.svg") in named, name


def test_every_column_has_a_line() -> None:
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    for title, schema in (
        ("Samples", schemas.SAMPLES),
        ("Scores", schemas.SCORES),
        ("Drops", schemas.DROPS),
        ("Evaluation", schemas.EVALUATION),
        ("Cost", schemas.COST),
    ):
        assert re.findall(r"^\| `(\w+)` \|", sections[title], re.MULTILINE) == schema.names


def test_every_column_says_what_it_holds(script: Any) -> None:
    for table in script.TABLES:
        assert list(table.meanings) == table.schema.names, table.title
        assert [one for one in table.meanings.values() if not one.endswith(".")] == [], table.title
    with pytest.raises(ValueError, match="not enough values"):  # a column without a meaning is no column
        schemas.described([("brightness", pa.float64())])
