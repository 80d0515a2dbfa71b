"""Options and helpers that several commands share."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from hawk.core.errors import InputError
from hawk.core.paths import RunPaths

log = logging.getLogger("hawk")

# What a run's folder has at least one of, whatever has been made so far.
PARTS = ("samples", "scores", "drops", "head_weights", "evaluation", "tables", "cost.parquet")


class Command(click.Command):
    """A command that refuses an option given twice; click takes the last of two and says nothing.

    Of an option for several values it refuses one value given twice. Only images may be: a prompt may show
    one twice.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in order:
            if not isinstance(option, click.Option) or option.count or option.name == "images":
                continue
            given: list[Any] = list(values.get(option.name) or ()) if option.multiple else []
            if order.count(option) > 1 and (not option.multiple or len(set(given)) < len(given)):
                name = max(option.opts, key=len)
                which = next((f" {option!r}" for option in given if given.count(option) > 1), "")
                raise InputError(f"{name}{which} is given twice; once is allowed.")
        return super().parse_args(ctx, args)


config_option = click.option(
    "--config", "config_source", required=True, help="A config file, or a part of one as inline JSON."
)
run_dir_option = click.option(
    "--run-dir", default=None, help="The run's folder; outputs/RUN by the config's own name if not given."
)


def read_config(
    source: str, step: str, more: str | None = None, gpu: bool = False, **names: str
) -> dict[str, Any]:
    """What a step declares to read of a config; a GPU step also takes a GPU, before anything imports torch.

    more and names: see :func:`hawk.config.declared.step_reads`.
    """
    from hawk.config.declared import declared
    from hawk.config.load import load_config
    from hawk.core.provenance import start_job

    config = declared(load_config(source), step, more, **names)
    start_job(config)
    if gpu:
        from hawk.core.gpu import claim

        claim(config["model"].get("device", "auto"))
    return config


def compute_alone() -> None:
    """Linear algebra on one thread in what follows.

    On a busy machine OpenBLAS threads wait for each other far longer than these small products
    take (minutes instead of seconds were seen), and the last bits depend on how many there are.
    """
    if "numpy" not in sys.modules:  # read when numpy is imported
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def run_of(source: str, run_dir: str | None) -> RunPaths:
    """A run whose folder exists: the one given, or the one that the config's name says."""
    from hawk.config.load import load_config

    if run_dir is None:
        config = load_config(source)
        if "run" not in config:
            raise InputError("--run-dir is missing, and the config has no key 'run' to find the folder by.")
        run_dir = f"outputs/{config['run']}"
    if not Path(run_dir).is_dir():
        raise InputError(f"--run-dir: there is no folder {run_dir!r}; run the workflow first.")
    if not any(Path(run_dir, name).exists() for name in PARTS):
        raise InputError(
            f"--run-dir: {run_dir!r} is no run's folder; it has none of {', '.join(PARTS)}. Give outputs/RUN."
        )
    return RunPaths(run_dir.rstrip("/"))


@contextmanager
def unfinished(outputs: list[str]) -> Iterator[list[str]]:
    """Lock the outputs; yields those that nobody else made while we waited for the lock.

    A file that another job made meanwhile is taken over if the same settings made it (the same part of
    the config, by its hash in the file). Any other is made again: two runs may share a folder by mistake.
    """
    from hawk.core.atomic import output_lock
    from hawk.core.files import made_by_job
    from hawk.core.provenance import this_job

    with ExitStack() as stack:
        waited = {path: stack.enter_context(output_lock(path)) for path in sorted(outputs)}
        missing = []
        for path in outputs:
            if not waited[path] or not Path(path).is_file():
                missing.append(path)
            elif this_job() is not None and made_by_job(path) == this_job():
                log.info("%s: another job made it meanwhile", path)
            else:
                log.warning("%s: another job made it meanwhile with other settings; made again", path)
                missing.append(path)
        yield missing


def produce(output: str, work: Callable[[], Any]) -> None:
    """Run the work that makes one output, under its lock, and say where the result is."""
    with unfinished([output]) as missing:
        if missing:
            work()
    log.info("wrote %s", output)


def split_options(options: tuple[str, ...]) -> dict[str, str]:
    """``--option KEY=VALUE``, given as often as wanted."""
    pairs: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"--option {option!r}: write it as KEY=VALUE.")
        if key in pairs:
            raise InputError(
                f"--option {key} is given twice, as {pairs[key]!r} and {value!r}; once is allowed."
            )
        pairs[key] = value
    return pairs
