"""Which config keys a step reads: declared beside the step, handed out by its rule, and enforced.

A step's module has a constant ``READS``, a tuple of keys such as ``("seed", "evaluation.ratios",
"data.{benchmark}")``; names in braces are filled with the job's wildcards. What only some of its jobs
read stands in ``READS_MORE``, a dict from a word (an intervention) to further keys. The rule's ``params``
are exactly these keys, so a change elsewhere in the config re-runs nothing; and the step gets a config
in which reading any other key raises, so that it can never fall back to a default in silence.

Nothing is imported to find the keys (steps import torch): they are read from the step's source.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from typing import Any

from hawk.core.errors import InputError, unknown
from hawk.core.shipped import PACKAGE


class UndeclaredRead(LookupError):
    """A step reads a config key that its ``READS`` do not declare: a fault of the step, not of the user."""


def step_reads(step: str, more: str | None = None, **names: str) -> tuple[str, ...]:
    """The config keys that a step declares, with ``{placeholders}`` filled from ``names``.

    step: the name that rule, command and file share, such as ``evaluate_pruned``.
    more: a key of the step's ``READS_MORE``.
    """
    constants = _constants(step)
    keys = list(constants["READS"])
    if more is not None:
        keys += constants["READS_MORE"][more]
    return tuple(key.format(**names) for key in keys)


@cache
def _constants(step: str) -> dict[str, Any]:
    path = PACKAGE / "steps" / f"{step}.py"
    if not path.is_file():
        known = [file.stem for file in path.parent.glob("*.py") if "READS = " in file.read_text("utf-8")]
        raise unknown("step", step, sorted(known))
    constants: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id in ("READS", "READS_MORE"):
                constants[node.targets[0].id] = ast.literal_eval(node.value)
    return constants


class ConfigSection(dict[str, Any]):
    """A section of a config. A key that it lacks, as inline JSON of one's own may, is told in words."""

    where = ""

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "") -> ConfigSection:
        """The same, with the sections in it."""
        part = cls()
        part.where = where
        for key, value in values.items():
            part[key] = cls.of(value, f"{where}{key}.") if type(value) is dict else value
        return part

    def __missing__(self, key: str) -> Any:
        raise InputError(f"the config has no key {self.where + str(key)!r}, which this step needs.")


class DeclaredSection(ConfigSection):
    """A part of a config that knows which of its keys were declared; any other read raises.

    A declared key that the config does not have is missing as in any :class:`ConfigSection`.
    """

    def __init__(self, values: Mapping[str, Any], declared: Mapping[str, Any], where: str, step: str) -> None:
        """declared: key → None for all of its value, or a mapping of the same kind for a section's part."""
        self.declared, self.where, self.step = declared, where, step
        super().__init__()
        for key, below in declared.items():
            value = values.get(key)
            if below is None:
                if key in values:
                    if type(value) is dict:
                        value = ConfigSection.of(value, f"{where}{key}.")
                    self[key] = value
            else:
                self[key] = DeclaredSection(value or {}, below, f"{where}{key}.", step)

    def _require(self, key: object) -> None:
        if key not in self.declared:
            raise UndeclaredRead(
                f"step {self.step!r} reads the config key {self.where + str(key)!r}, which its READS do not "
                f"declare; declared: {', '.join(self.declared)}. Add it in hawk/steps/{self.step}.py."
            )

    def __getitem__(self, key: str) -> Any:
        self._require(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._require(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._require(key)
        return super().__contains__(key)


def declared(config: Mapping[str, Any], step: str, more: str | None = None, **names: str) -> DeclaredSection:
    """The part of a config that a step declares to read; see the module."""
    tree: dict[str, Any] = {}
    for key in step_reads(step, more, **names):
        section, _, name = key.partition(".")
        if not name:
            tree[section] = None
        elif tree.get(section, {}) is not None:
            tree.setdefault(section, {})[name] = None
    return DeclaredSection(config, tree, "", step)
