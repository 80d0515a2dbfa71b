"""Progress of long work: a bar on a terminal, one log line a minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger("hawk")


def progress(items: Iterable[T], what: str, every: float = 60.0) -> Iterator[T]:
    """Iterate with progress; ``what`` names the work."""
    total = len(items) if isinstance(items, Sized) else None
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total, leave=False)
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last >= every:
            last = time.monotonic()
            log.info("%s: %d%s done", what, done, f" of {total}" if total else "")
        yield item
