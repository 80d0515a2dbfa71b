"""``hawk export``: results in files that other tools read."""

from __future__ import annotations

import logging

import click

log = logging.getLogger("hawk")


@click.group("export")
def export() -> None:
    """Results in files that other tools read."""


@export.command("heads")
@click.argument("source")
@click.option(
    "--format", "kind", type=click.Choice(["csv", "duoattention", "headkv"]), default="csv", show_default=True
)
@click.option("--output", required=True, type=click.Path(dir_okay=False), help="The file to write.")
@click.option("--ablation", default=None, help="Whose drops, by name; the first if not given.")
def heads(source: str, kind: str, output: str, ablation: str | None) -> None:
    """Drops of a run's folder, or weights of a file, as CSV, DuoAttention TSV or HeadKV JSON.

    hawk export heads outputs/tiny --format headkv --output heads.json
    """
    from hawk.tools.export_heads import export_heads

    for note in export_heads(source, kind, output, ablation):
        log.info("%s", note)
    log.info("wrote %s", output)


COMMANDS: list[click.Command] = [export]
