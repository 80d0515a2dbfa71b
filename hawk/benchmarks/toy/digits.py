"""The shipped scans of handwritten digits.

1,797 scans of 8x8 pixels with 17 grey levels. Training and test never share a scan, so a model that
answers about test scenes has learned digits, not scans.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from pyarrow import parquet

from hawk.core.shipped import shipped

TRAINING_SCANS = 1400


@lru_cache(maxsize=2)
def load_scans(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The scans of one split: pixels `[scans, 8, 8]` with values 0-16, and labels `[scans]`."""
    table = parquet.read_table(shipped("data") / "digits" / "digits.parquet", filters=[("split", "=", split)])
    if not len(table):
        raise ValueError(f"split {split!r} of the digit scans is unknown; allowed: 'train', 'test'")
    pixels = np.frombuffer(b"".join(table["pixels"].to_pylist()), dtype=np.uint8)
    return pixels.reshape(-1, 8, 8), table["label"].to_numpy()
