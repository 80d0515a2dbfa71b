"""MM-Vet: written answers that a GPT judge scores. Refused, with the reason; never approximated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hawk.benchmarks.base import Benchmark, Sample
from hawk.benchmarks.rules.protocols import ALL
from hawk.core.errors import InputError

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
_REASON = (
    "every answer is scored by a GPT judge (gpt-4-turbo in VLMEvalKit), which has no rule to fall "
    "back on. It is not approximated; leave this benchmark out."
)


def pooled(scores: Sequence[float], capabilities: Sequence[str]) -> dict[str, float]:
    """Means of a judge's scores per capability, for answers judged elsewhere, times 100.

    VLMEvalKit ``utils/mmvet.py:MMVet_acc`` counts a question of a single capability twice in it, as the
    capability and as the combination of that name.
    """
    parts: dict[str, list[float]] = {"Overall": list(scores)}
    for score, combination in zip(scores, capabilities, strict=True):
        for one in CAPABILITIES:
            if one in combination:
                parts.setdefault(one, []).append(score)
        if combination in CAPABILITIES:
            parts.setdefault(combination, []).append(score)
    return {name: 100.0 * sum(some) / len(some) for name, some in parts.items() if some}


@dataclass(frozen=True)
class MMVet(Benchmark):
    name: ClassVar[str] = "mmvet"
    family: ClassVar[str] = "mmvet"
    protocols: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[Mapping[str, str]] = dict.fromkeys(ALL, _REASON)

    def __post_init__(self) -> None:
        raise InputError(f"benchmark 'mmvet': {_REASON}")

    def load(self) -> Iterator[Sample]:
        raise InputError(f"benchmark 'mmvet': {_REASON}")
