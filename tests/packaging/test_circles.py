"""No module is reached again by what it imports, packages and imports for types alone included.

import-linter's contract (.importlinter) compares siblings, so it does not see a circle between a package's
own ``__init__`` and its modules.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT


def imports(root: Path, package: str) -> dict[str, set[str]]:
    """Module → the modules of the package that it names in an import, wherever that stands."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / package).rglob("*.py")
    }

    def named(path: Path) -> set[str]:
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in files else node.module for name in inner}
        return found & files.keys()

    return {module: named(path) for module, path in files.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_is_reached_by_what_it_imports() -> None:
    graph = imports(ROOT, "hawk")
    assert len(graph) > 200
    assert circle(graph) == []


@pytest.mark.parametrize(
    "line",
    [
        "from pack import NAMES",
        "import pack",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack",
    ],
)
def test_a_circle_through_a_package_is_seen(line: str, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").write_text("from pack.inner import work\nNAMES = {}\n")
    (tmp_path / "pack/inner.py").write_text("work = 1\n")
    assert circle(imports(tmp_path, "pack")) == []
    (tmp_path / "pack/inner.py").write_text(f"{line}\nwork = 1\n")
    assert set(circle(imports(tmp_path, "pack"))) == {"pack", "pack.inner"}
