"""Commands for people: start, inspect, compare, plan, fetch, try."""

from __future__ import annotations

import json
import logging
import textwrap
from pathlib import Path

import click

from hawk.cli.options import compute_alone, config_option, run_dir_option, run_of

log = logging.getLogger("hawk")


@click.command("show")
@click.argument("path")
def show(path: str) -> None:
    """Print a file of a run: head weights as bars, or a summary of a table."""
    from hawk.tools.show import show as text_of

    click.echo(text_of(path))


@click.command("compare")
@config_option
@run_dir_option
@click.option("--benchmark", default="overall", show_default=True, help="Which table to print.")
def compare(config_source: str, run_dir: str | None, benchmark: str) -> None:
    """Comparison tables and plots from evaluation files that exist; prints one table."""
    compute_alone()
    root = run_of(config_source, run_dir).root
    from hawk.config.load import load_config
    from hawk.core.errors import unknown
    from hawk.report.tables import read_retention, text_table
    from hawk.steps.make_figures import retention_figures
    from hawk.steps.make_tables import make_tables

    config = load_config(config_source)
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
    from hawk.core.atomic import write_text
    from hawk.tools.sensitivity import rankings, rankings_text, read_runs

    table = rankings(read_runs(run_dirs))
    click.echo(rankings_text(table))
    if output is not None:
        write_text(output, table.to_csv(index=False))
        log.info("wrote %s", output)


@click.command()
@click.option("--benchmark", "name", required=True, help="A benchmark by name.")
@click.option("--protocol", default=None, help="Whose scoring rules; default: the file's, else vlmevalkit.")
@click.option(
    "--predictions",
    required=True,
    type=click.Path(path_type=Path),
    help="Our parquet, a JSONL, or an xlsx or tsv of VLMEvalKit.",
)
@click.option("--samples", default=None, type=click.Path(path_type=Path), help="The samples of our parquet.")
@click.option("--rows", default=None, type=click.Path(path_type=Path), help="Every row's score (JSONL).")
@click.option("--definition", default=None, help="The YAML of a benchmark of your own.")
def score(
    name: str,
    protocol: str | None,
    predictions: Path,
    samples: Path | None,
    rows: Path | None,
    definition: str | None,
) -> None:
    """Score saved predictions again, without a model. Prints the aggregate as JSON."""
    from hawk.tools.rescore import score_predictions

    options = {"definition": definition} if definition else {}
    results = score_predictions(name, protocol, predictions, samples=samples, rows=rows, options=options)
    click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2, ensure_ascii=False))


@click.command()
@click.option("--config", "config_source", required=True, help="The config of the run.")
@click.option("--ledger", default=None, type=click.Path(path_type=Path), help="Default: data/versions.tsv.")
def fetch(config_source: str, ledger: Path | None) -> None:
    """Download everything a run needs, on a machine with a network. Safe to interrupt and repeat."""
    from hawk.tools.fetch import fetch_config

    for entry in fetch_config(config_source, ledger):
        click.echo(f"{entry['kind']} {entry['name']}: {entry['id']} @ {entry['revision'][:12]}")


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
    from hawk.config.load import load_config
    from hawk.core.gpu import claim
    from hawk.tools.plan import counted, measure, stages, table

    config = load_config(config_source)
    if samples:
        claim(config["model"]["device"])
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


@click.command("train-tiny")
@click.option("--family", type=click.Choice(["qwen2_5_vl", "internvl"]), default="qwen2_5_vl")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--continue",
    "start",
    type=click.Path(exists=True, file_okay=False),
    help="A folder whose model lacks only the last cycle, in which parts of the visual tokens are hidden.",
)
@click.argument("output", type=click.Path())
def train_tiny(family: str, seed: int, start: str | None, output: str) -> None:
    """Train an embedded model from scratch into the folder OUTPUT: an hour on one core."""
    from hawk.training.train import continue_folder, train

    if start is None:
        train(family, seed, Path(output))
    else:
        continue_folder(Path(start), seed, Path(output))
    log.info("wrote %s", output)


@click.command("init")
@click.argument("model", type=click.Path())
@click.option("--output", type=click.Path(), help="Default: config/<name of the model>.yaml.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def init(model: str, output: str | None, force: bool) -> None:
    """Write a config for the model folder (or Hub id) MODEL, geometry read from the model."""
    from hawk.tools.init import write_config

    print(write_config(model, output, force))


@click.command("demo")
@click.option("--cores", type=click.IntRange(1), default=2, show_default=True)
def demo(cores: int) -> None:
    """Run the whole workflow on the embedded model (make demo)."""
    from hawk.tools.demo import demo as run

    raise click.exceptions.Exit(run(cores))


@click.command("warm", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def warm(command: tuple[str, ...]) -> None:
    """Run COMMAND, a local Snakemake, with jobs that need not import torch.

    hawk warm snakemake --cores 2
    """
    from hawk.tools.warm import run_beside

    raise click.exceptions.Exit(run_beside(command))


COMMANDS: list[click.Command] = [init, plan, fetch, demo, warm, train_tiny, score, show, compare, sensitivity]
