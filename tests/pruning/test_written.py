"""A pruner as people write it: every option counts, and stands for the value that it looks like."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from hawk.core.errors import InputError
from hawk.pruning.budget import exact_ratio, ratio_text
from hawk.pruning.written import written_pruner


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"weights": "nowhere.json"},
            "option weights='nowhere.json': it is no option here; give it as weights",
        ),
        ({"weights": "uniform"}, "give it as weights"),
        ({"pruning_ratio": "0.5"}, "option pruning_ratio='0.5': it is no option here; give it as ratio"),
        ({"method": "grid"}, "option method='grid': it is no option here; give it as method"),
    ],
)
def test_what_has_a_place_of_its_own_is_no_option(options: dict[str, str], said: str) -> None:
    """As an option it was dropped for the default, or told by a traceback."""
    with pytest.raises(InputError, match=said):
        written_pruner("hawk", None, 0.8, options)


@pytest.mark.parametrize(
    "written", ["010", "1:30", "0x1_0: 3", "{a: 1, a: 2}", "!!python/name:os.system", "[1"]
)
def test_an_option_is_read_as_strictly_as_a_config(written: str) -> None:
    """YAML 1.1 takes 010 for 8 and 1:30 for 90."""
    with pytest.raises(InputError, match="option seed="):
        written_pruner("random", None, 0.8, {"seed": written})


def test_options_that_are_what_they_look_like() -> None:
    assert written_pruner("random", None, "0.80", {"seed": "10"}).seed == 10  # type: ignore[attr-defined]
    assert written_pruner("random", None, "0.80", {"seed": 3}).seed == 3  # type: ignore[attr-defined]
    assert written_pruner("hawk", None, 0.8, {"rope": "true"}).rope is True  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["1e-999999999", "0.8_5", "0_0.5", "\uff10.\uff15", "\u0660.\u0665"])
def test_a_ratio_that_is_no_plain_decimal(value: str) -> None:
    """One of a billion decimals took all the time and memory there is; others were read as another number."""
    signal.alarm(20)
    try:
        with pytest.raises(InputError, match="pruning_ratio"):
            exact_ratio(value)
    finally:
        signal.alarm(0)


def test_ratios_that_are_plain_decimals() -> None:
    for value in (0.8, "0.8", ".8", "8e-1", "0.80", " 0.8", np.float32(0.8), np.float64(0.8)):
        assert ratio_text(value) == "0.8"
