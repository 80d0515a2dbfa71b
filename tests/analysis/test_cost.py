"""Intervals of speed-ups, against every way in which repeats can fall on the two sides of the median."""

from __future__ import annotations

import itertools

import pandas as pd
import pyarrow as pa
import pytest

from hawk.analysis.cost import COST_TABLE, cost_table, median_interval
from hawk.core import schemas


@pytest.mark.parametrize("size", [1, 2, 5, 6, 8, 9, 12, 13])
def test_the_interval_holds_the_median_in_95_percent_of_cases(size: int) -> None:
    """The true median is 0: every pattern of signs is equally likely."""
    held = narrower = 0
    for signs in itertools.product((-1, 1), repeat=size):
        values = [sign * (place + 1.0) for place, sign in enumerate(signs)]
        low, high = median_interval(values)
        held += low <= 0 <= high
        ordered = sorted(values)
        assert size >= 6 or (low, high) == (ordered[0], ordered[-1])
        inner = ordered[ordered.index(low) + 1 : ordered.index(high)] or [1.0]
        narrower += inner[0] <= 0 <= inner[-1]
    assert narrower / 2**size < 0.95  # one value less on each side would be too few
    assert held / 2**size >= 0.95 or size < 6


def test_a_speed_up_whose_interval_holds_1_is_noise() -> None:
    plain: dict[str, object] = {field.name: 1 for field in schemas.COST}
    times = {"unpruned": (10.0, 20.0, 12.0), "faster": (5.0, 9.0, 8.0), "unsure": (8.0, 21.0, 9.0)}
    table = pd.DataFrame(
        {**plain, "variant": name, "pruning_ratio": "0.5", "repeat": repeat, "total_ms": time}
        for name, line in times.items()
        for repeat, time in enumerate(line)
    )
    held = pa.Schema.from_pandas(cost_table(table), preserve_index=False)
    assert [(one.name, str(one.type).removeprefix("large_")) for one in held] == [
        (one.name, str(one.type)) for one in COST_TABLE
    ]
    found = cost_table(table).set_index("variant")
    assert found["is_noise"].to_dict() == {"unpruned": True, "faster": False, "unsure": True}
    assert found.loc["faster", ["speedup_low", "speedup_high"]].tolist() == [12 / 8, 20 / 9]
