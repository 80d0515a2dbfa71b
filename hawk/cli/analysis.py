"""From scores to drops, head weights, tables, figures and the report; and what people look at."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from hawk.cli.options import (
    config_option,
    output_option,
    produce,
    read_alone,
    read_config,
    root_of,
    run_dir_option,
)

log = logging.getLogger("hawk")


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
    from hawk.core.paths import RunPaths
    from hawk.steps import head_drops as step

    path = output or RunPaths(root).drops()

    def work() -> None:
        step.head_drops(config, root, path)

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
    from hawk.core.paths import RunPaths
    from hawk.steps import head_weights as calibrate

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
    from hawk.core.paths import RunPaths
    from hawk.steps.make_tables import make_tables

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
    from hawk.steps.make_figures import make_figures

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
    from hawk.core.paths import RunPaths
    from hawk.steps.make_report import make_report

    path = output or RunPaths(root).report()

    def work() -> None:
        make_report(config, root, path)

    produce(path, work)


log = logging.getLogger("hawk")


@click.command("measure-cost")
@config_option
@click.argument("output")
def measure_cost(config_source: str, output: str) -> None:
    """Time, KV cache and memory of every variant and ratio, beside the unpruned model.

    OUTPUT is outputs/RUN/cost.parquet.
    """
    config = read_config(config_source, gpu=True)
    from hawk.steps.measure_cost import measure_cost as step

    produce(output, lambda: step(config, str(Path(output).parent), output))


@click.command("show-cost")
@config_option
@run_dir_option
@click.option("--only", type=click.Choice(["table", "figure"]), help="One of the two.")
def show_cost(config_source: str, run_dir: str | None, only: str | None) -> None:
    """Table of measured cost, and retention against measured speed-up.

    Writes tables/cost.{csv,md} and, where there is a retention table, figures/speedup.{png,svg}.
    """
    root = root_of(read_config(config_source), run_dir)
    from hawk.steps.cost_report import write_cost

    for path in write_cost(root, only):
        log.info("wrote %s", path)


COMMANDS: list[click.Command] = [head_drops, head_weights, tables, figures, report, measure_cost, show_cost]
