"""Measuring what pruning saves, and showing it."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from hawk.commands.analysis import root_of, run_dir_option
from hawk.commands.workflow import config_option, produce, read_config

log = logging.getLogger("hawk")


@click.command("measure-cost")
@config_option
@click.argument("output")
def measure_cost(config_source: str, output: str) -> None:
    """Time, KV cache and memory of every variant and ratio, beside the unpruned model.

    OUTPUT is outputs/RUN/cost.parquet.
    """
    config = read_config(config_source, gpu=True)
    from hawk.cost import measure_cost as step

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
    from hawk.cost_figures import write_cost

    for path in write_cost(root, only):
        log.info("wrote %s", path)


COMMANDS: list[click.Command] = [measure_cost, show_cost]
