"""The step make_figures: every figure of a run for which there is a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.core.paths import RunPaths
from hawk.report.figures import draw, pictures
from hawk.report.figures.style import save, style
from hawk.report.run import Run
from hawk.report.tables import read_retention

READS = ("ablation.recipes", "weights.recipes")  # beside them the tables say which figures there are


def make_figures(config: Mapping[str, Any], root: str) -> list[str]:
    """All figures for which ``root`` has the tables; returns the paths written."""
    return draw_figures(Run.read(config, root))


def retention_figures(root: str) -> list[str]:
    """The figures of the comparison alone, from its table."""
    frame, settings = read_retention(root)
    return draw_figures(Run({}, RunPaths(root), retention=frame, settings=settings), "retention")


def draw_figures(run: Run, section: str | None = None) -> list[str]:
    """Draw a run's figures, or those of one section; returns the paths written."""
    out: list[str] = []
    with style():
        for picture in pictures(run.holds, run.ablations, section, "make_figures"):
            out += save(draw(picture, run), run.paths, picture.name)
    return out
