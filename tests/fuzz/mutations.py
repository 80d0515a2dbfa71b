"""Bad values and bad bytes: what files from outside have been seen to hold, and worse."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 2, 2.0, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**30, -(10**30),
    "", " ", "x", "0", "x\n", "\n", "\x1b[2J", "\x00", "\u202e", "é" * 300, "x" * 70_000, "../../x",
    "/etc/passwd", "/", ".", "..", "~", "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "{wildcard}",
    "-rf", "a b", "%s", "NaN", "null", "!!python/object/apply:os.system ['touch PWNED']",
    [], {}, [None], [[]], [0, 0], ["x", "x"], {"": 0}, {"method": "hawk"}, {"x": {"x": {"x": {}}}}, [[[[]]]],
]  # fmt: skip
NAMES = ["", "x", "x\n", "../x", "$(touch PWNED)", "name", "method", "weights", "run", "__class__", "a.b"]


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value inside a parsed file."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*where, key)
        yield from places(inner, (*where, key))


def bad_values(value: Any, random: Random) -> Any:
    """One to three changes at random places: another value, a key that goes, a key that comes."""
    value = json.loads(json.dumps(value))
    for _ in range(random.randint(1, 3)):
        ways = list(places(value))
        if not ways:
            break
        *above, last = random.choice(ways)
        parent = value
        for key in above:
            parent = parent[key]
        change = random.randrange(6)
        if change < 4:
            parent[last] = random.choice(HOSTILE)
        elif change == 4 or not isinstance(parent, dict):
            del parent[last]
        else:
            parent[random.choice(NAMES)] = random.choice(HOSTILE)
    return value


def bad_bytes(content: bytes, random: Random) -> bytes:
    """Cut, turned, doubled, or of another kind altogether."""
    change, at = random.randrange(9), random.randrange(max(len(content), 1))
    if change == 0:
        return content[:at]
    if change == 1:
        return content[:at] + bytes([content[at] ^ (1 << random.randrange(8))]) + content[at + 1 :]
    if change == 2:
        return content[:at] + random.randbytes(random.randint(1, 40)) + content[at:]
    if change == 3:
        return content[:at] + content[min(len(content), at + random.randint(1, 200)) :]
    if change == 4:
        return random.choice(
            [b"", b"\0" * 100, b"[" * 60_000, b"{" * 60_000, b"9" * 6000, b"PAR1", b"- " * 5000]
        )
    if change == 5:
        return content.decode("utf-8", "replace").encode(
            random.choice(["utf-16", "utf-32", "latin-1"]), "replace"
        )
    if change == 6:
        return content + content
    if change == 7:
        return struct.pack("<Q", random.choice([0, 1, 2**31, 2**62, 2**64 - 1])) + content[8:]
    lines = content.split(b"\n")
    random.shuffle(lines)
    return b"\n".join(lines)
