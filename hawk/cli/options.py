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

run_dir_option = click.option(
    "--run-dir", default=None, help="The run's folder; outputs/RUN by the config's own name if not given."
)
output_option = click.option(
    "--output", default=None, help="Where to write; the run's own place if not given."
)


def read_alone(source: str) -> dict[str, Any]:
    """The config, and linear algebra on one thread for what follows.

    On a busy machine OpenBLAS threads wait for each other far longer than these small products
    take (minutes instead of seconds were seen), and the last bits depend on how many there are.
    """
    if "numpy" not in sys.modules:  # read when numpy is imported
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
    return read_config(source)


def root_of(config: dict[str, Any], run_dir: str | None) -> str:
    """The folder of a run that exists."""
    if run_dir is None:
        if "run" not in config:
            raise InputError("--run-dir is missing, and the config has no key 'run' to find the folder by.")
        run_dir = f"outputs/{config['run']}"
    if not Path(run_dir).is_dir():
        raise InputError(f"--run-dir: there is no folder {run_dir!r}; run the workflow first.")
    return run_dir.rstrip("/")


config_option = click.option(
    "--config", "config_source", required=True, help="A config file, or a part of one as inline JSON."
)


def read_config(source: str, gpu: bool = False) -> dict[str, Any]:
    """The config of a step; a GPU step also takes a GPU, before anything imports torch."""
    from hawk.config.load import load_config

    config = load_config(source)
    if gpu:
        from hawk.core.gpu import claim

        claim(config["model"].get("device", "auto"))
    return config


def split_path(output: str, *shape: str) -> tuple[str, dict[str, str]]:
    """``outputs/tiny/samples/evaluation/digits.parquet`` with shape ("samples", "role",
    "benchmark") → ("outputs/tiny", {"role": ..., "benchmark": ...}). The first word is literal."""
    path = Path(output)
    parts = path.with_suffix("").parts
    if len(parts) <= len(shape) or parts[-len(shape)] != shape[0]:
        wanted = "/".join([shape[0], *(f"{{{name}}}" for name in shape[1:])])
        raise InputError(
            f"output {output!r} is no path of this step; it writes outputs/<run>/{wanted}{path.suffix}."
        )
    root = Path(*parts[: -len(shape)])
    return str(root), dict(zip(shape[1:], parts[-len(shape) + 1 :], strict=True))


@contextmanager
def unfinished(outputs: list[str]) -> Iterator[list[str]]:
    """Lock the outputs; yields those that nobody else made while we waited for the lock."""
    from hawk.core.atomic import output_lock

    with ExitStack() as stack:
        waited = {path: stack.enter_context(output_lock(path)) for path in sorted(outputs)}
        missing = [path for path in outputs if not (waited[path] and Path(path).is_file())]
        for path in outputs:
            if path not in missing:
                log.info("%s: another job made it meanwhile", path)
        yield missing


def produce(output: str, work: Callable[[], None]) -> None:
    """Run the work that makes one output, under its lock, and say where the result is."""
    with unfinished([output]) as missing:
        if missing:
            work()
    log.info("wrote %s", output)


def _features(config: dict[str, Any], paths: RunPaths, role: str, benchmark: str) -> str | None:
    stored = config.get("features", "stored") == "stored"
    return paths.features(role, benchmark) if stored else None
