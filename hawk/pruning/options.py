"""What a pruning method is and takes, read from its source so that nothing imports torch.

The config's checks, the tables and the page that lists all methods need it in places that must not
load a model's libraries. Fields are options; a literal with the name of a fact is that fact; both are
inherited as the classes are.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from hawk import pruning
from hawk.core.errors import InputError, unknown
from hawk.core.shipped import check_model_folder
from hawk.core.values import check_bounds, check_type, choice
from hawk.core.variants import CALIBRATED


@dataclass(frozen=True)
class MethodFacts:
    """The class variables of a method that :class:`hawk.pruning.base.Pruner` explains, and its options."""

    method: str
    summary: str  # what it keeps: the first line of its docstring
    options: tuple[str, ...]  # its fields, pruning_ratio aside
    seeded: bool  # it has a field ``seed``
    has_scores: bool  # it overrides ``scores``: it can be the scorer of another method
    paper: str
    is_control: bool
    is_floor: bool
    is_ceiling: bool
    uses_relevant: bool
    keeps_budget: Literal[True, False, "at most"]
    ratio_free: bool
    other_images: bool
    takes_weights: bool
    takes_scoring: tuple[str, ...]
    uses_query: bool
    reads_other_question: bool
    uses_tower: bool
    uses_tower_with: tuple[str, ...]
    inside_model: bool
    needs_scorer: bool
    families: tuple[str, ...]
    model_options: tuple[str, ...]
    allowed: Mapping[str, tuple[Any, ...]]
    bounds: Mapping[str, str]


_READ = tuple(MethodFacts.__annotations__)[5:]  # the names that stand in the source as literals


def facts(method: str) -> MethodFacts:
    """The facts of a registered method; an unknown one is an error that lists the known ones."""
    if method not in pruning.REGISTRY:
        raise unknown("method", method, pruning.REGISTRY)
    module, _, cls = pruning.REGISTRY[method].partition(":")
    names, values, summary, methods = _read(module, cls)
    options = tuple(name for name in names if name != "pruning_ratio")
    return MethodFacts(method, summary, options, "seed" in options, "scores" in methods, **values)


def option_types(method: str) -> dict[str, str]:
    """A method's options and their annotations, as written."""
    facts(method)  # refuses an unknown one
    module, _, cls = pruning.REGISTRY[method].partition(":")
    return _read(module, cls)[0]


def check_option(method: str, name: str, value: Any, where: str, layers: int) -> None:
    """Refuse an option's value by its type, and by what its method says of it (allowed, bounds).

    layers: of the run's model.
    """
    known = facts(method)
    check_type(option_types(method).get(name, "Any"), value, f"{where}: {name}")
    if name in known.model_options and value is not None:
        check_model_folder(value, f"{where}: {name}")
    if name in known.allowed:
        choice(value, f"{where}: {name}", known.allowed[name])
    if name in known.bounds:
        check_bounds(known.bounds[name], value, f"{where}: {name}", layers)


def scorer_methods() -> list[str]:
    """The methods that have a score for every token: what a scorer may be."""
    return [method for method in sorted(pruning.REGISTRY) if facts(method).has_scores]


def with_scorers(variant: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A variant of a config, and the scorer in it, and the scorer in that: whatever has a method."""
    scorer = variant.get("scorer")
    inner = with_scorers(scorer) if isinstance(scorer, Mapping) and "method" in scorer else []
    return [variant, *inner]


def any_fact(variant: Mapping[str, Any], fact: str) -> bool:
    """Whether a fact holds of a variant's method, or of that of the scorer in it."""
    return any(getattr(facts(entry["method"]), fact) for entry in with_scorers(variant))


def varies_by_seed(variant: Mapping[str, Any]) -> bool:
    """Whether ``seeds`` of a variant can make a difference."""
    if variant.get("shuffle_query"):
        return True
    return any(entry.get("permute") or facts(entry["method"]).seeded for entry in with_scorers(variant))


def require_other_question(variant: Mapping[str, Any]) -> None:
    """Refuse ``shuffle_query`` where neither the method nor its scorer can be given another question."""
    if not variant.get("shuffle_query"):
        return
    reading = [entry for entry in with_scorers(variant) if facts(entry["method"]).reads_other_question]
    if reading and all(entry.get("query") == CALIBRATED for entry in reading):
        raise InputError(
            f"variant {variant['name']!r}: shuffle_query changes nothing with query 'calibrated', which "
            "reads no question."
        )
    if not reading:
        able = ", ".join(method for method in pruning.REGISTRY if facts(method).reads_other_question)
        raise InputError(
            f"variant {variant['name']!r}: shuffle_query changes nothing for method {variant['method']!r}, "
            f"which reads no question apart from its prompt. Allowed for: {able}, and methods with one of "
            "them as their scorer."
        )


@cache
def _read(module: str, cls: str) -> tuple[dict[str, str], dict[str, Any], str, frozenset[str]]:
    """(fields and their annotations, facts, first line of the docstring, methods), its bases' included.

    The methods are those that it overrides: of a class without bases, none.
    """
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls), None)
    if node is None:
        raise InputError(f"{module} has no class {cls!r} at its top level.")
    imported = {
        alias.asname or alias.name: (statement.module or "", alias.name)
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    methods = {part.name for part in node.body if node.bases and isinstance(part, ast.FunctionDef)}
    for base in reversed(node.bases):  # the first base wins, as in Python
        where, name = imported.get(ast.unparse(base), (module, ast.unparse(base)))
        if name == "object" or where in sys.stdlib_module_names:
            continue
        if "." in name or where == __name__.partition(".")[0]:  # that one hands classes on lazily
            raise InputError(
                f"{module}: base {ast.unparse(base)} of {cls} cannot be read from its source; import it "
                "from its own module, as in: from hawk.pruning.base import Pruner"
            )
        inherited = _read(where, name)
        names = {**inherited[0], **names}
        values = {**values, **inherited[1]}
        methods |= inherited[3]
    for statement in node.body:
        name, value = _assigned(statement)
        if name in _READ:
            values[name] = _literal(value, f"{module}: {name} of {cls}")
        elif isinstance(statement, ast.AnnAssign) and name and not name.startswith("_"):
            if "ClassVar" not in ast.unparse(statement.annotation):
                names[name] = ast.unparse(statement.annotation)
    summary = (ast.get_docstring(node) or "").split("\n")[0]
    return names, values, summary, frozenset(methods)


def _source(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"hawk.pruning.REGISTRY names the module {module!r}, which does not exist.")
    return Path(spec.origin)


def _assigned(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """The name and the value of ``name = value`` and ``name: type = value``; "" for anything else."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id, statement.value
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, statement.value
    return "", None


def _literal(value: ast.expr | None, what: str) -> Any:
    try:
        return ast.literal_eval(value)  # type: ignore[arg-type]
    except ValueError:
        raise InputError(f"{what} must be a literal: it is read from the source.") from None
