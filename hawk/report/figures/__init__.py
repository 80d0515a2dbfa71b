"""Every figure of a run: one list, from which the rule's outputs, the step and the page are made.

To add a figure: a file in this folder with a function that draws it from a run, and a line in
``FIGURES``. Nothing heavy is imported here: the workflow reads the list before every dry run.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from hawk.report.run import Run


@dataclass(frozen=True)
class Figure:
    """One figure, or with ``{ablation}`` in its name one per ablation."""

    name: str  # of its files, figures/NAME.svg and .png
    section: str  # of the page and of Snakemake's report: heads, weights, retention, tokens, cost
    caption: str  # stands below it on the page
    alt: str  # what it shows, for readers who cannot see it
    needs: tuple[str, ...]  # parts of a run (names of Run's fields) that it is drawn from
    draw: str  # "module:function" in this folder: takes a Run, and the ablation's name if there is one
    step: str = "make_figures"  # a figure of another step needs the model; the page shows it if it is there
    ending: str = "svg"  # of the file that the page shows
    without_script: bool = False  # the page shows it only where its script does not run
    on_page: bool = True  # False: the page draws the same by itself


class Picture(NamedTuple):
    """A figure of one run: with one ablation, if it is drawn per ablation."""

    figure: Figure
    ablation: str | None

    def _fill(self, text: str) -> str:
        return text.replace("{ablation}", self.ablation or "")

    @property
    def name(self) -> str:
        return self._fill(self.figure.name)

    @property
    def alt(self) -> str:
        return self._fill(self.figure.alt)


FIGURES: list[Figure] = [
    Figure(
        name="heatmap-{ablation}",
        section="heads",
        caption="",
        alt="drops of every head under {ablation}",
        needs=("drops",),
        draw="drops:draw",
        without_script=True,
    ),
    Figure(
        name="weights",
        section="weights",
        caption="Bars: head weights. Grey: where 95 % of the weights would fall if no head mattered "
        "(reference and ablated runs swapped at random per image). Min-shift turns noise into weights, so "
        "a bar inside its grey range (pale and hatched) is no evidence that the head matters; drops are. "
        "The table below tests whether a benchmark's heads differ. Distance: how far the weights are from "
        "uniform ones.",
        alt="head weights beside their null",
        needs=("weights",),
        draw="weights:draw_weights",
    ),
    Figure(
        name="stability",
        section="weights",
        caption="Rank correlation of the heads' drops between two disjoint parts of the images. Where a "
        "curve still rises, more samples would still change the ranking.",
        alt="rank correlation against samples",
        needs=("stability",),
        draw="weights:draw_stability",
    ),
    Figure(
        name="retention",
        section="retention",
        caption="Retention overall: unweighted mean over benchmarks, in percent of the unpruned model, with "
        "intervals. Hollow: no significant difference from the reference.",
        alt="retention of every variant at every ratio",
        needs=("retention",),
        draw="dots:draw",
        on_page=False,
    ),
    Figure(
        name="retention-benchmarks",
        section="retention",
        caption="",
        alt="retention per benchmark",
        needs=("retention",),
        draw="retention:draw_benchmarks",
    ),
    Figure(
        name="kept_tokens",
        section="tokens",
        caption="Framed, in colour: kept. Grey: removed.",
        alt="visual tokens that each variant keeps",
        needs=("retention",),
        draw="kept_tokens:kept_token_panel",
        step="kept_tokens",
        ending="png",
    ),
    Figure(
        name="speedup",
        section="cost",
        caption="Bars: intervals of retention over images, and of speed-up over repeats.",
        alt="retention against speed-up",
        needs=("cost", "retention"),
        draw="speedup:draw",
    ),
]


def pictures(
    holds: Collection[str], ablations: Sequence[str], section: str | None = None, step: str | None = None
) -> Iterator[Picture]:
    """The pictures of a run, in the order of the list.

    holds: the parts that the run has, in the words of ``Figure.needs``. section, step: only theirs.
    """
    for figure in FIGURES:
        if section not in (None, figure.section) or step not in (None, figure.step):
            continue
        if set(figure.needs) <= set(holds):
            each = ablations if "{ablation}" in figure.name else [None]
            yield from (Picture(figure, ablation) for ablation in each)


def draw(picture: Picture, run: Run) -> Drawing:
    """Draw one picture of a run."""
    module, _, function = picture.figure.draw.partition(":")
    make = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return make(run) if picture.ablation is None else make(run, picture.ablation)
