"""What YAML would accept in silence is an error in one line that names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawk.core.errors import InputError
from hawk.core.yaml_files import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

WRONG = {
    "twice": (b"seed: 1\nrun: a\nseed: 2\n", "line 3: the key 'seed' is given twice"),
    "below": (b"model:\n  path: a\n  path: b\n", "line 3: the key 'path' is given twice"),
    "number": (b"run: a\n1: b\n", "line 2: the key '1' is no text"),
    "null": (b"~: b\n", "line 1: the key '~' is no text"),
    "list": (b"? [a]\n: b\n", "line 1: the key 'a list or mapping' is no text"),
    "self": (b"a: &a\n  b: *a\n", "an alias stands inside what it names"),
    "bomb": (BOMB.encode(), "more than 50,000 values once aliases are expanded"),
    "deep": (b"a: " + b"[" * 60 + b"]" * 60, "nested deeper than 50 levels"),
    "broken": (b"run: a\nmodel: {path: b\n", "line 3: not valid YAML"),
    "tag": (
        b"run: !!python/object/apply:os.system [ls]\n",
        "line 1: the tag 'python/object/apply:os.system'",
    ),
    "own tag": (b"a: 1\nrun: !mine x\n", "line 2: the tag '!mine' is not allowed"),
    "set": (b"a: 1\ndata: !!set {mine}\n", "line 2: the tag 'set' is not allowed"),
    "omap": (b"ratios: !!omap [a: 1]\n", "line 1: the tag 'omap' is not allowed"),
    "pairs": (b"ratios: !!pairs [a: 1]\n", "line 1: the tag 'pairs' is not allowed"),
    "bytes": (b"data: !!binary aGVsbG8=\n", "line 1: the tag 'binary' is not allowed"),
    "merged twice": (b"a:\n  <<: {x: 1}\n  <<: {x: 2}\n", "line 3: the key '<<' is given twice"),
    "octal": (b"a: 1\nseed: 010\n", "line 2: 010 is no decimal number"),
    "minutes": (b"a: 1\nseed: 1:30\n", "line 2: 1:30 is no decimal number"),
    "minutes with a fraction": (b"seed: -1:30.5\n", "line 1: -1:30.5 is no decimal number"),
    "half a character": (b'a: 1\nrun: "\\ud800"\n', "line 2: half of a surrogate pair"),
    "utf-16": ("run: a".encode("utf-16"), "line 1: not UTF-8 text"),
    "latin-1": (b"run: a\nname: caf\xe9\n", "line 2: not UTF-8 text"),
    "binary": (bytes(range(1, 128)), "not valid YAML"),
    "list only": (b"- a\n- b\n", "expected keys and values, found list"),
    "empty": (b"", "config.yaml: empty; expected keys and values."),
    "two": (b"a: 1\n---\nb: 2\n", "line 2: not valid YAML"),
    "long": (b"a: " + b"x" * 1_000_001, "1,000,004 bytes; a config file has at most 1,000,000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_line_with_the_place(tmp_path: Path, name: str) -> None:
    content, said = WRONG[name]
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    text = str(caught.value)
    assert said in text
    assert str(path) in text
    assert "\n" not in text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config file '.*none.yaml': there is no such file"):
        read_yaml(tmp_path / "none.yaml")


def test_numbers_that_are_what_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "a: 0\nb: 0.5\nc: 0x10\nd: 1_000\ne: -0\nf: '010'\ng: 1.5e+3\nh: .5\ni: 00.5\nj: 2024-01-01\n"
    )
    found = read_yaml(path)
    assert list(found.values())[:9] == [0, 0.5, 16, 1000, 0, "010", 1500.0, 0.5, 0.5]


def test_aliases_and_merges_that_are_meant_work(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}
