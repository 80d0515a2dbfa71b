"""The step make_report: report.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hawk.core import atomic
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.report.answers import answers_of
from hawk.report.explorer import explorer_data
from hawk.report.page import page
from hawk.report.run import Run
from hawk.report.sections import comparison, cost, overview
from hawk.report.sections import heads as report_heads
from hawk.report.sections.verdict import verdict

READS = (
    "run",
    "seed",
    "model",
    "calibration.holdout",
    "calibration.samples",
    "ablation.recipes",
    "weights.recipes",
    "evaluation.variants",
)


def make_report(
    config: Mapping[str, Any], root: str, output: str | None = None, compare: Sequence[str] = ()
) -> str:
    """Write the report of all that exists under ``root``; returns its path.

    compare: folders of other runs, whose heads the explorer shows beside this run's.
    """
    output = output or RunPaths(root).report()
    run, *rest = (Run.read(config, folder) for folder in (root, *compare))
    for each in (run, *rest):
        each.answers = answers_of(each)
    for folder, other in zip(compare, rest, strict=True):
        if other.drops is None:
            raise InputError(
                f"--compare {folder}: there are no drops to show, expected {folder}/drops/*.parquet"
            )
    atomic.write_text(output, report(run, dict(zip(_short(compare), rest, strict=True))))
    return output


def _short(folders: Sequence[str]) -> Sequence[str]:
    """The last parts of the paths; the whole paths, if two of the last parts are the same."""
    names = [Path(folder).resolve().name for folder in folders]
    return names if len({*names}) == len(names) else folders


def report(run: Run, others: Mapping[str, Run] | None = None) -> str:
    """The page of a run. others: further runs, by the names that they get on the page."""
    sections: list[tuple[str, str, Callable[[Run], str]]] = [
        ("verdict", "What it says", verdict),
        ("run", "What was run", overview.what_was_run),
        ("heads", "Which heads matter", report_heads.heads),
        ("weights", "Head weights and noise", report_heads.weights),
        ("retention", "Retention", comparison.retention),
        ("tokens", "Kept tokens", comparison.kept_tokens),
        ("cost", "Cost", cost.cost),
        ("reading", "How to read this", overview.reading),
    ]
    done = [(key, title, text) for key, title, make in sections if (text := make(run))]
    return page(run.config["run"], done, explorer_data(run, others))
