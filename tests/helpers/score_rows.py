"""Score rows compared."""

from __future__ import annotations


def same(one: list[dict], two: list[dict], tolerance: float = 1e-4) -> bool:
    for a, b in zip(one, two, strict=True):
        close = abs(a["reference_logprob"] - b["reference_logprob"]) < tolerance
        if not close or {**a, "reference_logprob": 0} != {**b, "reference_logprob": 0}:
            return False
    return True
