"""config/README.md is what the schema says."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import yaml
from conftest import ROOT

SCRIPT = ROOT / "docs" / "generate_config_readme.py"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("generate_config_readme", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def schema() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text(encoding="utf-8"))


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert written == script().page(schema()), "run: python docs/generate_config_readme.py"


def test_every_key_of_the_schema_has_a_line() -> None:
    """Counted without the script: every entry of every ``properties`` that is no section."""
    page = (ROOT / "config/README.md").read_text(encoding="utf-8")

    def keys(node: dict[str, Any]) -> list[str]:
        found = []
        for key, child in node.get("properties", {}).items():
            found += keys(child) if "properties" in child else [key]
        return found

    listed = [key for name in ("ablation", "weights", "variant") for key in keys(schema()["$defs"][name])]
    expected = sorted(keys(schema()) + listed)
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == expected


def test_a_changed_schema_changes_the_page() -> None:
    changed = schema()
    changed["properties"]["seed"]["default"] = 7
    changed["properties"]["model"]["properties"]["path"]["description"] = "Something else."
    page = script().page(changed)
    assert "| `7` |" in page
    assert "Something else." in page


def test_the_catalog_finds_what_it_asks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert usage["report"] is True
    assert (ROOT / "Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
