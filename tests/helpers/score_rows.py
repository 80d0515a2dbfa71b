"""Score rows compared."""

from __future__ import annotations

NATS = ("reference_logprob", "margin")


def same(one: list[dict], two: list[dict], tolerance: float = 1e-4) -> bool:
    for a, b in zip(one, two, strict=True):
        close = all(_close(a[key], b[key], tolerance) for key in NATS)
        if not close or {**a, **dict.fromkeys(NATS)} != {**b, **dict.fromkeys(NATS)}:
            return False
    return True


def _close(a: float | None, b: float | None, tolerance: float) -> bool:
    """A margin is null in both or in neither."""
    return a is b if a is None or b is None else abs(a - b) < tolerance
