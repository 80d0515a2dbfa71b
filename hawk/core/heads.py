"""Query heads of the language model: names, the head table, geometry."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hawk.core import values
from hawk.core.errors import InputError

_NAME = re.compile(r"L(0|[1-9]\d*)H(0|[1-9]\d*)\Z")


@dataclass(frozen=True, order=True)
class Head:
    """One query head, also under grouped-query attention; written ``L{layer}H{index}``."""

    layer: int
    index: int

    def __post_init__(self) -> None:
        for name in ("layer", "index"):
            values.whole(getattr(self, name), f"head: {name}", 0, 10**9)

    def __str__(self) -> str:
        return f"L{self.layer}H{self.index}"

    @classmethod
    def parse(cls, name: str) -> Head:
        """``"L0H17"`` → ``Head(0, 17)``; anything else is an :class:`InputError`."""
        match = _NAME.match(name)
        if match is None:
            raise InputError(f"{name!r} is not a head; heads are written like L0H17.")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Geometry:
    """What head weights and ablations must agree with: the attention shape of a language model."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "kv_heads", "head_dim"):
            # Other libraries' whole numbers are taken, and none of them can be written.
            object.__setattr__(self, name, values.whole(getattr(self, name), f"geometry: {name}", 1, 100_000))
        if self.heads % self.kv_heads:
            raise InputError(
                f"geometry: {self.heads} heads cannot share {self.kv_heads} key-value heads evenly."
            )

    def check(self, head: Head) -> None:
        if not (0 <= head.layer < self.layers and 0 <= head.index < self.heads):
            raise InputError(
                f"{head} is outside the model: it has layers 0-{self.layers - 1} "
                f"and heads 0-{self.heads - 1}."
            )


def head_table(layers: list[int], heads: int) -> list[Head]:
    """All heads of the given layers, layer by layer."""
    return [Head(layer, index) for layer in layers for index in range(heads)]
