"""The options of every pruning method, read from its source so that nothing imports torch."""

from __future__ import annotations

import ast
from functools import cache

from hawk import pruning
from hawk.core.shipped import PACKAGE


def option_names(method: str) -> list[str]:
    """A method's fields, read from its source: importing it would import torch."""
    module, _, cls = pruning.REGISTRY[method].partition(":")
    names = _fields(module, cls)
    return [name for name in names if not name.startswith("_") and name != "pruning_ratio"]


@cache
def _fields(module: str, cls: str) -> list[str]:
    root = PACKAGE.parent
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls)
    names: list[str] = []
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in imported:
            source, name = imported[base.id]
            names += _fields(source, name) if source.startswith("hawk.") else []
        elif isinstance(base, ast.Name) and base.id not in ("ABC", "object"):
            names += _fields(module, base.id)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if "ClassVar" not in ast.unparse(statement.annotation):
                names.append(statement.target.id)
    return names
