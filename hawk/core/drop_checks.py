"""Whether the columns of a drops table agree with each other: what is written twice must say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:  # every job reads tables, and few of drops: pandas takes half a second
    import pandas as pd

TOLERANCE = 1e-6  # points; a drop is computed from the values beside it
# What all heads of a benchmark under an ablation share: they are measured on one reference.
_SHARED = ("intervention", "reference_value", "samples", "groups", "noise_floor")
_NEEDED = (
    "benchmark", "ablation", *_SHARED,
    "ablated_value", "drop", "ci_low", "ci_high", "is_noise",
)  # fmt: skip


def drop_rules(table: pa.Table) -> Iterator[tuple[str, np.ndarray, str]]:
    """(column, [rows] whether the value is wrong, what is allowed), for a table with all these columns."""
    if table.num_rows == 0 or not set(_NEEDED) <= set(table.column_names):
        return
    frame = table.select(list(_NEEDED)).to_pandas()
    groups = frame.groupby(["benchmark", "ablation"], sort=False, dropna=False)
    for name in _SHARED:
        first = groups[name].transform("first")
        yield name, (frame[name] != first).to_numpy(), "all heads of a benchmark share it"
    yield "drop", _other_scale(frame), "it must be what the native values say, in points"
    low, high = frame["ci_low"].to_numpy(), frame["ci_high"].to_numpy()
    inside = ~((low > 0) | (high < 0)) | (frame["drop"].abs() <= frame["noise_floor"]).to_numpy()
    noise = frame["is_noise"].fillna(False).to_numpy(dtype=bool)
    yield "is_noise", noise != inside, "it must be what the interval and the noise floor say"


def _other_scale(frame: pd.DataFrame) -> np.ndarray:
    """[rows] whether a drop is another share of its native values than most drops of its benchmark.

    More speaks for a head: what is lost without it, or with it alone what is gained.

    The native maximum, which brings a drop to points, is the benchmark's and not in the table; it is one for
    all rows of a benchmark, and more than 0.
    """
    native = frame["reference_value"] - frame["ablated_value"]
    native = native.where(frame["intervention"] != "keep_only", -native)
    scale = (frame["drop"] / native).where(native != 0)
    usual = scale.groupby(frame["benchmark"]).transform("median").fillna(1.0)
    wrong = (frame["drop"] - native * usual).abs() > TOLERANCE * np.maximum(1.0, frame["drop"].abs())
    return (wrong | (usual <= 0)).to_numpy()
