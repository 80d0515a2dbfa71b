"""The figures of a run, as PNG and SVG. Deterministic: no date, a fixed salt for SVG ids.

Colours: ColorBrewer's RdBu for drops, those of :mod:`hawk.report.figures.looks` for variants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hawk.core import atomic
from hawk.core.paths import RunPaths

GREY = "#666666"

_STYLE: Any = {
    "svg.hashsalt": "hawk",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100.0,
    "savefig.dpi": 160.0,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our look, and a back-end that needs no display; the caller's settings come back afterwards."""
    matplotlib.use("agg", force=False)
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    # Not pyplot: it would keep every figure alive.

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, paths: RunPaths, name: str) -> list[str]:
    """Write ``figures/{name}.png`` and ``.svg``, atomically."""
    out = []
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        path = paths.figure(name, ending)
        with atomic.atomic_path(path) as temporary:
            figure.savefig(temporary, format=ending, metadata=metadata)
        out.append(path)
    return out
