"""What a run will cost, before it is started."""

from __future__ import annotations

import textwrap

import click


@click.command()
@click.option("--config", "config_source", required=True, help="The config of the run.")
@click.option(
    "--samples",
    type=click.IntRange(0, 1000),
    default=8,
    show_default=True,
    help="Samples to time on this machine; 0 needs neither model nor data and prints jobs only.",
)
def plan(config_source: str, samples: int) -> None:
    """Jobs, GPU hours and disk per stage, calibrated by a few samples."""
    from hawk.commands.workflow import read_config
    from hawk.plan import counted, measure, stages, table

    config = read_config(config_source, gpu=samples > 0)
    found = stages(config, counted(config) if samples else lambda role, name: 0)
    timing = measure(config, samples) if samples else None
    click.echo(table(found, timing, config["features"] == "stored"))
    if timing is None:
        return
    click.echo()
    _say(
        f"Timed on {timing.device}: {timing.start:.0f} s to start a job, {timing.encode * 1e3:.0f} ms per "
        f"image, {timing.score * 1e3:.0f} ms per scored sample. Pruned samples count like whole ones, and "
        "every image as distinct: an upper bound."
    )
    per_job = config["ablation"]["heads_per_job"]
    ablation = next(stage for stage in found if stage.name == "ablation")
    starts = ablation.jobs * timing.start / 3600
    if starts > 0.2 * timing.hours(ablation) and per_job != "all":
        _say(
            f"{starts / timing.hours(ablation):.0%} of the ablation is starting jobs; a larger "
            f"ablation.heads_per_job (now {per_job}) saves most of it and changes no result."
        )


def _say(text: str) -> None:
    click.echo(textwrap.fill(text, 79))


COMMANDS: list[click.Command] = [plan]
