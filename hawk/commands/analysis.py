"""From scores to drops, head weights, tables, figures and the report; and what people look at."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from hawk.commands.workflow import config_option, produce, read_config
from hawk.errors import InputError

log = logging.getLogger("hawk")

run_dir_option = click.option(
    "--run-dir", default=None, help="The run's folder; outputs/RUN by the config's own name if not given."
)
output_option = click.option(
    "--output", default=None, help="Where to write; the run's own place if not given."
)


def read_alone(source: str) -> dict[str, Any]:
    """The config, and linear algebra on one thread for what follows.

    On a busy machine OpenBLAS threads wait for each other far longer than these small products
    take (minutes instead of seconds were seen), and the last bits depend on how many there are.
    """
    if "numpy" not in sys.modules:  # read when numpy is imported
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
    return read_config(source)


def root_of(config: dict[str, Any], run_dir: str | None) -> str:
    """The folder of a run that exists."""
    if run_dir is None:
        if "run" not in config:
            raise InputError("--run-dir is missing, and the config has no key 'run' to find the folder by.")
        run_dir = f"outputs/{config['run']}"
    if not Path(run_dir).is_dir():
        raise InputError(f"--run-dir: there is no folder {run_dir!r}; run the workflow first.")
    return run_dir.rstrip("/")


@click.command("head-drops")
@config_option
@run_dir_option
@output_option
def head_drops(config_source: str, run_dir: str | None, output: str | None) -> None:
    """Drops of all heads with intervals and noise, and how stable they are.

    Writes drops.parquet and stability.json.
    """
    config = read_alone(config_source)
    root = root_of(config, run_dir)
    from hawk import drops
    from hawk.paths import RunPaths

    path = output or RunPaths(root).drops()

    def work() -> None:
        drops.head_drops(config, root, path)

    produce(path, work)


@click.command("head-weights")
@config_option
@run_dir_option
@click.option("--intervention", required=True, help="Whose drops: zero, mean or selection.")
@click.option("--subset", default="pooled", show_default=True, help="pooled, or without-FAMILY.")
@output_option
def head_weights(
    config_source: str, run_dir: str | None, intervention: str, subset: str, output: str | None
) -> None:
    """Head weights from drops.parquet."""
    config = read_alone(config_source)
    root = root_of(config, run_dir)
    from hawk import calibrate
    from hawk.paths import RunPaths

    path = output or RunPaths(root).head_weights(intervention, subset)

    def work() -> None:
        calibrate.head_weights(config, root, intervention, subset, path)

    produce(path, work)


@click.command("tables")
@config_option
@run_dir_option
def tables(config_source: str, run_dir: str | None) -> None:
    """Compare all variants: tables/retention and tables/controls."""
    config = read_alone(config_source)
    root = root_of(config, run_dir)
    from hawk.paths import RunPaths
    from hawk.tables import make_tables

    def work() -> None:
        make_tables(config, root)

    produce(RunPaths(root).table("retention", "parquet"), work)


@click.command("figures")
@config_option
@run_dir_option
def figures(config_source: str, run_dir: str | None) -> None:
    """All figures for which there are tables."""
    config = read_alone(config_source)
    root = root_of(config, run_dir)
    from hawk.figures import make_figures

    for path in make_figures(config, root):
        log.info("wrote %s", path)


@click.command("report")
@config_option
@run_dir_option
@output_option
def report(config_source: str, run_dir: str | None, output: str | None) -> None:
    """report.html: one file that opens offline."""
    config = read_alone(config_source)
    root = root_of(config, run_dir)
    from hawk.paths import RunPaths
    from hawk.report import make_report

    path = output or RunPaths(root).report()

    def work() -> None:
        make_report(config, root, path)

    produce(path, work)


@click.command("show")
@click.argument("path")
def show(path: str) -> None:
    """Print a file of a run: head weights as bars, or a summary of a table."""
    from hawk.show import show as text_of

    click.echo(text_of(path))


@click.command("compare")
@config_option
@run_dir_option
@click.option("--benchmark", default="overall", show_default=True, help="Which table to print.")
def compare(config_source: str, run_dir: str | None, benchmark: str) -> None:
    """Comparison tables and plots from evaluation files that exist; prints one table."""
    config = read_alone(config_source)
    root = root_of(config, run_dir)
    from hawk.errors import unknown
    from hawk.figures import retention_figures
    from hawk.tables import make_tables, read_retention, text_table

    if benchmark not in ("overall", *config["evaluation"]["benchmarks"]):
        raise unknown("benchmark", benchmark, ["overall", *config["evaluation"]["benchmarks"]])
    paths = [*make_tables(config, root), *retention_figures(root)]
    frame, settings = read_retention(root)
    click.echo(text_table(frame, benchmark, settings))
    for path in paths:
        log.info("wrote %s", path)


@click.command("sensitivity")
@click.option(
    "--run-dir", "run_dirs", multiple=True, required=True, help="A compared run; give it twice or more."
)
@click.option("--output", default=None, help="Also write the rankings as CSV.")
def sensitivity(run_dirs: tuple[str, ...], output: str | None) -> None:
    """How the ranking of variants changes between runs that differ in one setting."""
    from hawk.records import write_text
    from hawk.sensitivity import rankings, rankings_text, read_runs

    table = rankings(read_runs(run_dirs))
    click.echo(rankings_text(table))
    if output is not None:
        write_text(output, table.to_csv(index=False))
        log.info("wrote %s", output)


COMMANDS = [head_drops, head_weights, tables, figures, report, show, compare, sensitivity]
