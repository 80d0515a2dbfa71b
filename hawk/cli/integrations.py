"""Commands that run hawk's models in other people's tools, or share what hawk made."""

from __future__ import annotations

import click

from hawk.cli.options import Command, split_options


@click.command("vlmevalkit", cls=Command, context_settings={"ignore_unknown_options": True})
@click.option(
    "--method", default="hawk", show_default=True, help="The pruning method; docs/methods.md lists them."
)
@click.option(
    "--ratio", default="0.8", show_default=True, help="Fraction of visual tokens removed, in [0, 1)."
)
@click.option(
    "--weights",
    default="uniform",
    show_default=True,
    help="Head weights: uniform, a shipped name, a file, or a Hub id.",
)
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="A further option of the method."
)
@click.argument("arguments", nargs=-1, metavar="RUN_PY_ARGS...", type=click.UNPROCESSED)
def vlmevalkit(
    method: str, ratio: str, weights: str, options: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    """Run VLMEvalKit on pruned models.

    Starts its run.py, in which every model NAME also exists as hawk-NAME: the same model, pruned.

    hawk vlmevalkit --ratio 0.8 --weights qwen2.5-vl-7b --model hawk-Qwen2.5-VL-7B-Instruct --data MMStar
    """
    from hawk.integrations.vlmevalkit import launch
    from hawk.pruning.written import written_pruner

    launch(arguments, written_pruner(method, weights, ratio, split_options(options)), method)


@click.command("push", cls=Command)
@click.argument("file", type=click.Path())
@click.argument("repo")
@click.option(
    "--private/--public",
    default=None,
    help="Visibility of a new repository; default: your account's setting.",
)
def push(file: str, repo: str, private: bool | None) -> None:
    """Upload head weights to the Hub, with a model card.

    FILE is the weight file, REPO the repository, written user/name.

    The token is HF_TOKEN, or the one that `hf auth login` saved. Prints the address, with the commit.
    """
    from hawk.tools.push import push as upload

    click.echo(upload(file, repo, private))


COMMANDS: list[click.Command] = [vlmevalkit, push]
