"""The list of figures: one line is enough for the rule, the step and the page; none may be missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from factories import make_config, toy_benchmarks, write_run

from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.report import figures
from hawk.report.figures.style import new_figure
from hawk.report.pictures import STILL, section_pictures
from hawk.report.run import Run
from hawk.steps.make_figures import make_figures
from hawk.steps.make_report import make_report
from hawk.steps.make_tables import make_tables

EVERYTHING = ("drops", "stability", "weights", "retention", "cost")


@pytest.fixture
def compared(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A run with a comparison and nothing else."""
    root = str(tmp_path / "run")
    with toy_benchmarks():
        config = write_run(root, make_config())
        make_tables(config, root)
    return root, config


def test_every_figure_names_its_function_and_has_a_caption_file(
    request: pytest.FixtureRequest,
) -> None:
    names = [figure.name for figure in figures.FIGURES]
    assert len(names) == len(set(names))
    captions = request.config.rootpath / "rules" / "report"
    for figure in figures.FIGURES:
        module, _, function = figure.draw.partition(":")
        assert callable(getattr(importlib.import_module(f"hawk.report.figures.{module}"), function))
        assert figure.alt
        assert (captions / f"{figure.section}.rst").is_file()


def test_pictures_follow_from_what_a_run_holds() -> None:
    found = [one.name for one in figures.pictures(EVERYTHING, ["zero", "mean"])]
    assert found[:2] == ["heatmap-zero", "heatmap-mean"]
    assert len(found) == len(figures.FIGURES) + 1
    assert {"weights", "speedup"} <= set(found)
    less = [one.name for one in figures.pictures(["drops", "cost"], ["zero"])]
    assert less == ["heatmap-zero"]  # speed-up is drawn against retention
    assert [one.name for one in figures.pictures(EVERYTHING, [], section="cost")] == ["speedup"]
    drawn = figures.pictures(EVERYTHING, [], step="make_figures")
    assert "kept_tokens" not in [one.name for one in drawn]


def test_a_missing_picture_is_an_error_that_says_how_to_draw_it(compared) -> None:
    root, config = compared
    missing = RunPaths(root).figure("retention-benchmarks")
    with pytest.raises(
        InputError, match=r"figures/retention-benchmarks\.svg: there is no such picture.*make-figures`"
    ):
        make_report(config, root)
    make_figures(config, root)
    assert "kept_tokens" not in Path(make_report(config, root)).read_text(encoding="utf-8")
    Path(missing).unlink()
    with pytest.raises(InputError, match=missing):
        make_report(config, root)


def test_a_large_picture_for_pages_without_script_is_named_only(
    compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, config = compared
    line = replace(figures.FIGURES[0], name="still", needs=("retention",), alt="a still")
    monkeypatch.setattr(figures, "FIGURES", [line])
    run, drawn = Run.read(config, root), Path(RunPaths(root).figure("still"))
    drawn.parent.mkdir(parents=True, exist_ok=True)
    drawn.write_bytes(b"x" * STILL)
    assert 'alt="a still"' in section_pictures(run, "heads")
    drawn.write_bytes(b"x" * (STILL + 1))
    said = "<noscript><p>Too large for this page: figures/still.svg in the run's folder.</p></noscript>"
    assert section_pictures(run, "heads") == said


def test_a_figure_is_a_file_and_a_line(compared, monkeypatch: pytest.MonkeyPatch) -> None:
    root, config = compared
    module = ModuleType("hawk.report.figures.new")
    module.draw = lambda run: new_figure(1.0, len(run.retention) / len(run.retention))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    line = figures.Figure("new", "retention", "What is new.", "a new figure", ("retention",), "new:draw")
    monkeypatch.setattr(figures, "FIGURES", [*figures.FIGURES, line])
    assert RunPaths(root).figure("new", "png") in make_figures(config, root)
    text = Path(make_report(config, root)).read_text(encoding="utf-8")
    assert "<figcaption>What is new.</figcaption>" in text
    assert 'alt="a new figure"' in text
    assert "new" in [one.name for one in figures.pictures(EVERYTHING, [])]


def test_the_workflow_reads_the_list_without_what_draws() -> None:
    code = (
        "import sys, hawk.report.figures\n"
        "heavy = ('numpy', 'pandas', 'matplotlib', 'pyarrow')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
