"""Commands about data: score saved predictions, and download what a run needs."""

from __future__ import annotations

import json
from pathlib import Path

import click


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
    from hawk.rescore import score_predictions

    options = {"definition": definition} if definition else {}
    results = score_predictions(name, protocol, predictions, samples=samples, rows=rows, options=options)
    click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2, ensure_ascii=False))


@click.command()
@click.option("--config", "config_source", required=True, help="The config of the run.")
@click.option("--ledger", default=None, type=click.Path(path_type=Path), help="Default: data/versions.tsv.")
def fetch(config_source: str, ledger: Path | None) -> None:
    """Download everything a run needs, on a machine with a network. Safe to interrupt and repeat."""
    from hawk.fetch import fetch_config

    for entry in fetch_config(config_source, ledger):
        click.echo(f"{entry['kind']} {entry['name']}: {entry['id']} @ {entry['revision'][:12]}")


COMMANDS = [score, fetch]
