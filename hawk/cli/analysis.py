"""The steps over a whole run, without a model: from scores to drops, weights, tables, figures, report."""

from __future__ import annotations

import logging

import click

from hawk.cli.options import (
    Command,
    compute_alone,
    config_option,
    produce,
    read_config,
    run_dir_option,
    run_of,
)
from hawk.core.values import name

log = logging.getLogger("hawk")


@click.command("head-drops", cls=Command)
@config_option
@run_dir_option
@click.option("--ablation", required=True, help="A name in ablation.recipes.")
def head_drops(config_source: str, run_dir: str | None, ablation: str) -> None:
    """Compute the drops of all heads of one ablation.

    With their intervals, the noise floor, and how stable the order of the heads is.

    Writes drops/ABLATION.parquet and stability/ABLATION.json.
    """
    compute_alone()
    name(ablation, "--ablation")  # part of the output's path, whose folder is made before the step looks
    paths = run_of(config_source, run_dir)
    config = read_config(config_source, "head_drops")
    from hawk.steps.head_drops import head_drops as step

    produce(paths.drops(ablation), lambda: step(config, paths, ablation))


@click.command("head-weights", cls=Command)
@config_option
@run_dir_option
@click.option("--recipe", required=True, help="A name in weights.recipes.")
@click.option(
    "--subset",
    default="pooled",
    show_default=True,
    help="Which benchmarks count: pooled (all), or without-FAMILY (all but one family).",
)
def head_weights(config_source: str, run_dir: str | None, recipe: str, subset: str) -> None:
    """Turn the drops of one ablation into head weights.

    Writes head_weights/RECIPE/SUBSET.json.
    """
    compute_alone()
    for option, word in (("--recipe", recipe), ("--subset", subset)):
        name(word, option)  # part of the output's path, whose folder is made before the step looks
    paths = run_of(config_source, run_dir)
    config = read_config(config_source, "head_weights")
    from hawk.steps.head_weights import head_weights as step

    output = paths.head_weights(recipe, subset)
    produce(output, lambda: step(config, paths, recipe, subset))


@click.command("make-tables", cls=Command)
@config_option
@run_dir_option
def make_tables(config_source: str, run_dir: str | None) -> None:
    """Compare all variants of a run.

    Writes tables/retention and tables/controls.
    """
    compute_alone()
    paths = run_of(config_source, run_dir)
    config = read_config(config_source, "make_tables")
    from hawk.steps.make_tables import make_tables as step

    produce(paths.table("retention", "parquet"), lambda: step(config, paths.root))


@click.command("make-cost-table", cls=Command)
@config_option
@run_dir_option
def make_cost_table(config_source: str, run_dir: str | None) -> None:
    """Make the table of measured time and memory.

    Writes tables/cost as CSV and Markdown.
    """
    paths = run_of(config_source, run_dir)
    config = read_config(config_source, "make_cost_table")
    from hawk.steps.make_cost_table import make_cost_table as step

    produce(paths.table("cost", "csv"), lambda: step(config, paths.root))


@click.command("make-figures", cls=Command)
@config_option
@run_dir_option
def make_figures(config_source: str, run_dir: str | None) -> None:
    """Draw all figures of a run whose tables exist."""
    compute_alone()
    paths = run_of(config_source, run_dir)
    config = read_config(config_source, "make_figures")
    from hawk.steps.make_figures import make_figures as step

    for path in step(config, paths.root):
        log.info("wrote %s", path)


@click.command("make-report", cls=Command)
@config_option
@run_dir_option
@click.option(
    "--compare",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    metavar="RUN_DIR",
    help="Folder of another run, whose heads are shown beside this run's; may be given several times.",
)
def make_report(config_source: str, run_dir: str | None, compare: tuple[str, ...]) -> None:
    """Write report.html, one file that opens without a network."""
    compute_alone()
    paths = run_of(config_source, run_dir)
    config = read_config(config_source, "make_report")
    from hawk.steps.make_report import make_report as step

    produce(paths.report(), lambda: step(config, paths.root, compare=compare))


COMMANDS: list[click.Command] = [
    head_drops,
    head_weights,
    make_tables,
    make_cost_table,
    make_figures,
    make_report,
]
