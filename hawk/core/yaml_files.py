"""YAML as people write it, read strictly: what it would accept in silence is an error with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hawk.core.errors import InputError

MAX_BYTES = 1_000_000
MAX_NODES = 50_000  # after aliases are expanded: a file of ten lines can stand for billions
MAX_DEPTH = 50
# What JSON can hold, and the dates that YAML makes of some plain words: the checks of values refuse those.
_TAG = "tag:yaml.org,2002:"
_TAGS = {_TAG + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "timestamp")}
# YAML 1.1 takes 010 for 8 and 1:30 for 90, which nobody means.
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_]+)+(\.[0-9_]*)?)")


class _Strict(yaml.SafeLoader):
    """Refuses keys that are no text, keys given twice, deep nesting, aliases that grow without bound."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:  # while reading: Python's own limit may be far, and the way there slow
            raise _Wrong(self.peek_event(), f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None:
            _check_node(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            merge = key.tag == _TAG + "merge"
            if not merge and (not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str"):
                text = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _Wrong(key, f"the key {text!r} is no text; put it in quotes")
            if key.value in seen:
                raise _Wrong(key, f"the key {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_node(node: yaml.Node) -> None:
    """Refuse what has no counterpart in JSON, or is another value than it looks like."""
    if node.tag not in _TAGS:
        kind = node.tag.removeprefix(_TAG)
        raise _Wrong(node, f"the tag {kind!r} is not allowed; texts, numbers, lists and keys with values are")
    if isinstance(node, yaml.ScalarNode):
        if node.tag in (_TAG + "int", _TAG + "float") and _OTHER_BASE.fullmatch(node.value):
            raise _Wrong(node, f"{node.value} is no decimal number; put it in quotes if it is a text")
        if any("\ud800" <= char <= "\udfff" for char in node.value):
            raise _Wrong(node, "half of a surrogate pair, which is no character")


class _Wrong(Exception):
    def __init__(self, node: yaml.Node | yaml.Event, text: str) -> None:
        self.line = node.start_mark.line + 1 if node.start_mark else 1
        super().__init__(text)


def read_value(text: str) -> Any:
    """The value of a text as in a config, read as strictly; InputError says what is wrong with it."""
    try:
        loader = _Strict(text)
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(node)
    except _Wrong as error:
        raise InputError(f"{error}.") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError("not a value; write text, a number, or {key: value}.") from None


def read_yaml(path: str | Path, what: str = "config file") -> dict[str, Any]:
    """The mapping in a YAML file. Every mistake is one :class:`InputError` that names file and line."""
    return compose(path, what)[0]


def compose(path: str | Path, what: str = "config file") -> tuple[dict[str, Any], yaml.Node]:
    """The mapping as :func:`read_yaml` gives it, and its nodes, which know their lines (merges are done)."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{what} {str(path)!r}: there is no such file.")
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: {len(content):,} bytes; a {what} has at most {MAX_BYTES:,}.")
    try:
        loader = _Strict(text)
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{path}: empty; expected keys and values.")
        _count(node, {}, 0)
        value = loader.construct_document(node)
    except _Wrong as error:
        raise InputError(f"{path}, line {error.line}: {error}.") from None
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{place}: not valid YAML: {error.problem or error.context}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: not valid YAML: {reason or type(error).__name__}.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected keys and values, found {type(value).__name__}.")
    return value, node


def _count(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Nodes below and with this one, aliases expanded; an alias inside itself has no end."""
    if depth > MAX_DEPTH:
        raise _Wrong(node, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in sizes:
        if sizes[id(node)] < 0:
            raise _Wrong(node, "an alias stands inside what it names")
        return sizes[id(node)]
    sizes[id(node)] = -1
    below = node.value if isinstance(node, yaml.SequenceNode) else [n for pair in node.value for n in pair]
    total = 1 + sum(_count(child, sizes, depth + 1) for child in below)
    if total > MAX_NODES:
        raise _Wrong(node, f"more than {MAX_NODES:,} values once aliases are expanded")
    sizes[id(node)] = total
    return total
