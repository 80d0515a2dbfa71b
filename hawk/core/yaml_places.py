"""Where a value of a config was written: the file and its line, for the message that refuses it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hawk.core.errors import InputError
from hawk.core.yaml_files import compose

Path_ = tuple[str | int, ...]  # of keys, and positions in lists
COMMAND_LINE = "the command line (--config)"


class Places:
    """Places of the values in one config, which may be laid over each other from several files.

    Files are read again when a place is asked for and not before: only a refusal asks.

    files: the later lays its keys over the earlier, as Snakemake does; a list replaces a list.
    given: the values as they came, files and command line together and without defaults. What differs there
    from the files was given on the command line, and has no line. Default: as the files say.
    """

    def __init__(self, files: Sequence[str | Path], given: Mapping[str, Any] | None = None) -> None:
        self.files = [str(file) for file in files]
        self._given = given
        self._written: dict[Path_, tuple[str, Any]] | None = None

    def __str__(self) -> str:
        return ", ".join(self.files) or "config"

    def of(self, path: Sequence[str | int]) -> str:
        """The place of a value, else of the nearest thing around it that was written."""
        written = self._read()
        for length in range(len(path), 0, -1):
            key = tuple(path[:length])
            if self._given is not None:
                value = _value(self._given, key)
                if value is not ... and _differs(value, written.get(key, ("", ...))[1]):
                    return COMMAND_LINE
            if key in written:
                return written[key][0]
        return str(self)

    def of_message(self, text: str) -> str:
        """The place of what a message is about: the first key it writes with a dot, or begins with.

        Of a list it is the member that the message names first, by its name or as its value.
        """
        known = (
            self._read() if self._given is None else {**self._read(), **dict.fromkeys(_paths(self._given))}
        )
        words = re.findall(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", text)
        words = [*re.findall(r"^\w+(?![\w.])", text), *words]
        for word in words:
            path: Path_ = tuple(word.split("."))
            if path in known:
                return self.of(self._member(path, text))
        return str(self)

    def _member(self, path: Path_, text: str) -> Path_:
        mentions: list[tuple[int, Path_]] = []
        for key, (_, value) in self._read().items():
            if key[:-1] == path and isinstance(key[-1], int):
                name = value.get("name") if isinstance(value, dict) else value
                if isinstance(name, str | int | float):
                    match = re.search(rf"(?<![\w.]){re.escape(repr(name))}(?![\w.])", text)
                    mentions += [(match.start(), key)] if match else []
        # Of two equal ones it is the second that is too many.
        return max(mentions, key=lambda mention: (-mention[0], mention[1][-1]))[1] if mentions else path

    def _read(self) -> dict[Path_, tuple[str, Any]]:
        if self._written is None:
            self._written = {}
            for file in self.files:
                try:
                    value, node = compose(file)
                except InputError:  # changed or gone meanwhile: the mistake found before is told all the same
                    continue
                self._lay(file, (), node, value)
        return self._written

    def _lay(self, file: str, path: Path_, node: yaml.Node, value: Any) -> None:
        assert self._written is not None
        if isinstance(node, yaml.MappingNode):
            for key, child in node.value:
                at = (*path, key.value)
                if not (isinstance(child, yaml.MappingNode) and isinstance(self._value_at(at), dict)):
                    for old in [path for path in self._written if path[: len(at)] == at]:
                        del self._written[old]
                self._written[at] = (f"{file}, line {key.start_mark.line + 1}", value[key.value])
                self._lay(file, at, child, value[key.value])
        elif isinstance(node, yaml.SequenceNode):
            for number, child in enumerate(node.value):
                self._written[*path, number] = (f"{file}, line {child.start_mark.line + 1}", value[number])
                self._lay(file, (*path, number), child, value[number])

    def _value_at(self, path: Path_) -> Any:
        assert self._written is not None
        return self._written.get(path, ("", None))[1]


def _value(config: Any, path: Path_) -> Any:
    """The value there, or ``...``."""
    for key in path:
        try:
            config = config[key]
        except (KeyError, IndexError, TypeError):
            return ...
    return config


def _differs(given: Any, written: Any) -> bool:
    """Whether a value came from elsewhere; a mapping may have been laid over another."""
    if isinstance(given, Mapping) and isinstance(written, Mapping):
        return False
    return type(given) is not type(written) or repr(given) != repr(written)


def _paths(config: Any, path: Path_ = ()) -> list[Path_]:
    if isinstance(config, Mapping):
        return [path, *(below for key, value in config.items() for below in _paths(value, (*path, key)))]
    return [path]
