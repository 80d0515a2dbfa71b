"""What a run will cost, before it is started."""

from __future__ import annotations

import click


@click.command()
@click.option("--config", "config_source", required=True, help="The config of the run.")
@click.option(
    "--samples",
    type=click.IntRange(0, 1000),
    default=8,
    show_default=True,
    help="Samples to time on this machine; 0 loads no model and prints jobs only.",
)
def plan(config_source: str, samples: int) -> None:
    """Jobs, GPU hours and disk per stage, calibrated by a few samples."""
    from hawk.commands.workflow import read_config
    from hawk.plan import counted, measure, stages, table

    config = read_config(config_source, gpu=samples > 0)
    found = stages(config, counted(config))
    timing = measure(config, samples) if samples else None
    click.echo(table(found, timing, config["features"] == "stored"))
    if timing is None:
        return
    per_job = config["ablation"]["heads_per_job"]
    click.echo(
        f"\nTimed on {timing.device}: {timing.start:.0f} s to start a job, "
        f"{timing.encode * 1e3:.0f} ms per image, "
        f"{timing.score * 1e3:.0f} ms per scored sample.\n"
        "Pruned samples count like whole ones, and every image as distinct: an upper bound."
    )
    ablation = next(stage for stage in found if stage.name == "ablation")
    starts = ablation.jobs * timing.start / 3600
    if starts > 0.2 * timing.hours(ablation) and per_job != "all":
        click.echo(
            f"{starts / timing.hours(ablation):.0%} of the ablation is starting jobs; "
            f"a larger ablation.heads_per_job (now {per_job}) saves most of it and changes no result."
        )


COMMANDS: list[click.Command] = [plan]
