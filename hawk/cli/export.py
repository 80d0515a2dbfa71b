"""``hawk export``: results in files that other tools read."""

from __future__ import annotations

import logging

import click

from hawk.cli.options import Command

log = logging.getLogger("hawk")


@click.group("export")
def export() -> None:
    """Write drops or weights in the formats of other tools."""


@export.command("heads", cls=Command)
@click.argument("source")
@click.option(
    "--format", "kind", type=click.Choice(["csv", "duoattention", "headkv"]), default="csv", show_default=True
)
@click.option("--output", required=True, type=click.Path(dir_okay=False), help="The file to write.")
@click.option(
    "--ablation", default=None, help="The ablation whose drops are written; the first if not given."
)
def heads(source: str, kind: str, output: str, ablation: str | None) -> None:
    """Write one number per head: drops or weights.

    SOURCE is a run's folder, for its drops, or head weights (a file or a shipped name). Formats: CSV,
    DuoAttention's TSV or HeadKV's JSON.

    hawk export heads outputs/tiny --format headkv --output heads.json
    """
    from hawk.tools.export_heads import export_heads

    for note in export_heads(source, kind, output, ablation):
        log.info("%s", note)
    log.info("wrote %s", output)


@export.command("scorer", cls=Command)
@click.argument("source")
@click.option("--model", required=True, help="The folder or Hub id of the model that the weights are of.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Number format in which the model is loaded; the checkpoint's own loses nothing.",
)
@click.option("--output", required=True, type=click.Path(dir_okay=False), help="The file to write.")
def scorer(source: str, model: str, dtype: str, output: str) -> None:
    """Write a token score that reads no question.

    For a serving engine, from the head weights SOURCE (a file, shipped name or Hub id). Writes safetensors
    with one [heads, hidden] matrix on the visual embeddings, and a reference in numpy. The weights must hold
    a mean query: a recipe of weights.recipes with query: calibrated.

    hawk export scorer weights.json --model Qwen/Qwen2.5-VL-7B-Instruct --output scorer.safetensors
    """
    from hawk.core.atomic import refuse_overwriting
    from hawk.core.head_weights import HeadWeights

    refuse_overwriting("--output", output, source)
    weights = HeadWeights.load(source)
    from hawk.models.loading import load
    from hawk.tools.export_scorer import export_scorer, token_score_of

    token_score_of(weights)  # before the model is loaded, which may take long
    export_scorer(weights, load(model, dtype=dtype, device="cpu", vision=False), output)
    log.info("wrote %s", output)


COMMANDS: list[click.Command] = [export]
