"""Parts of one measured run: each has its share of the time, and none ends the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass
class Part:
    """What one part found. status: "ok"; "cut", some of it was left out for want of time; "left out",
    it cannot run here; "failed", some or all of it."""

    name: str
    status: str = "ok"
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deadline: float = field(default=float("inf"), repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def left(self) -> float:
        return self.deadline - self.clock()

    def leave_out(self, why: str) -> None:
        self.status = "left out"
        self.notes.append(why)

    def measure(self, what: Row, work: Callable[[], Row]) -> Row | None:
        """One row: ``what`` it is about and what ``work`` finds. Not begun when the part's time is over,
        and an error in it is noted and does not end the part."""
        label = " ".join(map(str, what.values()))
        if self.left() <= 0:
            if self.status == "ok":
                self.status = "cut"
            self.notes.append(f"not measured, the part's time was over: {label}")
            return None
        try:
            row = {**what, **work()}
        except Exception as error:
            self.fail(f"{label}: {type(error).__name__}: {error}")
            return None
        self.rows.append(row)
        return row

    def fail(self, why: str) -> None:
        self.status = "failed"
        self.notes.append(why.replace("\n", " ")[:500])

    def find(self, **wanted: Any) -> Row | None:
        """The first row with these values."""
        return next((r for r in self.rows if all(r.get(k) == v for k, v in wanted.items())), None)

    def as_json(self) -> dict[str, Any]:
        found = {k: v for k, v in asdict(self).items() if k not in ("deadline", "clock", "name")}
        return {**found, "seconds": round(self.seconds, 1)}


def run(
    jobs: Sequence[tuple[str, float, Callable[[Part], None]]],
    seconds: float,
    said: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Part]:
    """Run the parts in order. jobs: (name, share of ``seconds``, work); what one does not use, the next
    may. A part looks at its time between two measurements, so it may end one measurement late."""
    began, share, found = clock(), 0.0, {}
    whole = sum(part for _, part, _ in jobs)
    for name, weight, work in jobs:
        share += weight
        part = Part(name, deadline=began + seconds * share / whole, clock=clock)
        start = clock()
        try:
            work(part)
        except Exception as error:
            part.fail(f"{type(error).__name__}: {error}")
            said(traceback.format_exc())
        part.seconds = clock() - start
        said(f"{name}: {part.status} in {part.seconds:.0f} s, {len(part.rows)} rows")
        for note in part.notes:
            said(f"  {note}")
        found[name] = part
    return found
