"""What each variant looks like: one colour and one marker, the same in every figure of a run.

The first eight colours are Okabe and Ito's with two more, the others from Paul Tol's "muted" scheme: all
can be told apart with colour-blind eyes, and variants also differ by marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.controls import is_ceiling, is_floor

if TYPE_CHECKING:
    import pandas as pd

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#444444")
COLOURS = (*PALETTE, "#332288", "#999933", "#AA4499", "#117733", "#CC6677", "#44AA99")
MARKERS = "osD^vPX*<>hd"


def bounds(retention: pd.DataFrame) -> list[str]:
    """The variants between which all others lie: they are drawn as lines, without a look."""
    methods = dict(zip(retention["variant"], retention["method"], strict=True))
    return [name for name, method in methods.items() if is_floor(method) or is_ceiling(method)]


def looks(retention: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Variant → colour and marker. retention: all rows of ``tables/retention``, whose order decides."""
    apart = {BASELINE, MAJORITY, *bounds(retention)}
    names = [name for name in dict.fromkeys(retention["variant"]) if name not in apart]
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}
