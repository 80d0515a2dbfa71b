"""The steps that Snakemake runs. Each reads its inputs from the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from hawk.errors import InputError
from hawk.paths import RunPaths

log = logging.getLogger("hawk")

config_option = click.option(
    "--config", "config_source", required=True, help="A config file, or a part of one as inline JSON."
)


def read_config(source: str, gpu: bool = False) -> dict[str, Any]:
    """The config of a step; a GPU step also takes a GPU, before anything imports torch."""
    from hawk.config import load_config

    config = load_config(source)
    if gpu:
        from hawk.gpu_slots import claim

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
    from hawk.records import output_lock

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


@click.command("prepare-samples")
@config_option
@click.argument("output")
def prepare_samples(config_source: str, output: str) -> None:
    """Load a benchmark and draw a role's samples.

    OUTPUT is outputs/RUN/samples/ROLE/BENCHMARK.parquet.
    """
    config = read_config(config_source)
    _, names = split_path(output, "samples", "role", "benchmark")
    from hawk.samples import prepare_samples as step

    produce(output, lambda: step(config, names["benchmark"], names["role"], output))


@click.command("encode-images")
@config_option
@click.argument("output")
def encode_images(config_source: str, output: str) -> None:
    """Run the vision tower once per image.

    OUTPUT is outputs/RUN/features/ROLE/BENCHMARK/VIEW.safetensors.
    """
    config = read_config(config_source, gpu=True)
    root, names = split_path(output, "features", "role", "benchmark", "view")
    from hawk.features import encode_images as step

    role, benchmark = names["role"], names["benchmark"]
    samples = RunPaths(root).samples(role, benchmark)
    produce(output, lambda: step(config, samples, role, benchmark, output, names["view"]))


@click.command("score-samples")
@config_option
@click.argument("outputs", nargs=-1, required=True)
def score_samples(config_source: str, outputs: tuple[str, ...]) -> None:
    """Score a baseline, a reference, a repeat, or ablated heads.

    OUTPUTS name what to score, all of one benchmark and intervention:
    outputs/RUN/scores/BENCHMARK/baseline/ROLE.parquet,
    outputs/RUN/scores/BENCHMARK/INTERVENTION/{reference,repeat1,L0H17}.parquet.
    """
    config = read_config(config_source, gpu=True)
    split = [split_path(output, "scores", "benchmark", "kind", "name") for output in outputs]
    groups = {(root, names["benchmark"], names["kind"]) for root, names in split}
    if len(groups) != 1:
        raise InputError("the outputs of one call must share run, benchmark and intervention.")
    ((root, benchmark, kind),) = groups
    baseline = kind == "baseline"
    names = {output: entry["name"] for output, (_, entry) in zip(outputs, split, strict=True)}
    role = next(iter(names.values())) if baseline else "calibration"
    if baseline and len(set(names.values())) != 1:
        raise InputError("a baseline is scored for one role at a time.")
    from hawk.sweep import score_step

    paths = RunPaths(root)
    with unfinished(list(outputs)) as missing:
        if missing:
            score_step(
                config,
                benchmark,
                role,
                paths.samples(role, benchmark),
                _features(config, paths, role, benchmark),
                [("reference" if baseline else names[output], output) for output in missing],
                intervention=None if baseline else kind,
                means_path=paths.head_means(benchmark) if kind == "mean" else None,
            )
    for output in outputs:
        log.info("wrote %s", output)


@click.command("head-means")
@config_option
@click.argument("output")
def head_means(config_source: str, output: str) -> None:
    """Mean input of every head's o_proj slice on the calibration samples.

    OUTPUT is outputs/RUN/scores/BENCHMARK/head_means.safetensors.
    """
    config = read_config(config_source, gpu=True)
    root, names = split_path(output, "scores", "benchmark", "file")
    from hawk.sweep import head_means_step

    paths, benchmark = RunPaths(root), names["benchmark"]
    samples = paths.samples("calibration", benchmark)
    features = _features(config, paths, "calibration", benchmark)
    produce(output, lambda: head_means_step(config, benchmark, samples, features, output))


@click.command("evaluate-pruned")
@config_option
@click.argument("output")
def evaluate_pruned(config_source: str, output: str) -> None:
    """Score a variant at all ratios and seeds.

    OUTPUT is outputs/RUN/evaluation/BENCHMARK/VARIANT.parquet.
    """
    config = read_config(config_source, gpu=True)
    root, names = split_path(output, "evaluation", "benchmark", "variant")
    from hawk.config import variant_named, weights_subset
    from hawk.evaluation import evaluate_step

    paths, benchmark = RunPaths(root), names["benchmark"]
    role = config["evaluation"]["role"]
    subset = weights_subset(config, variant_named(config, names["variant"]), benchmark)
    weights = None if subset is None else paths.head_weights(*subset)
    produce(
        output,
        lambda: evaluate_step(
            config,
            benchmark,
            names["variant"],
            paths.samples(role, benchmark),
            _features(config, paths, role, benchmark),
            weights,
            root,
            output,
        ),
    )


@click.command("kept-tokens")
@config_option
@click.argument("run_dir", type=click.Path())
def kept_tokens(config_source: str, run_dir: str) -> None:
    """Draw what every variant keeps of a few images, into RUN_DIR/figures."""
    config = read_config(config_source, gpu=True)
    from hawk.kept import kept_tokens_step

    for path in kept_tokens_step(config, run_dir):
        log.info("wrote %s", path)


@click.command("train-tiny")
@click.option("--family", type=click.Choice(["qwen2_5_vl", "internvl"]), default="qwen2_5_vl")
@click.option("--seed", type=int, default=0, show_default=True)
@click.argument("output", type=click.Path())
def train_tiny(family: str, seed: int, output: str) -> None:
    """Train an embedded model from scratch into the folder OUTPUT: an hour on one core."""
    from hawk.tiny.train import train

    train(family, seed, Path(output))
    log.info("wrote %s", output)


@click.command("init")
@click.argument("model", type=click.Path())
@click.option("--output", type=click.Path(), help="Default: config/<name of the model>.yaml.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def init(model: str, output: str | None, force: bool) -> None:
    """Write a config for the model folder (or Hub id) MODEL, geometry read from the model."""
    from hawk.init import write_config

    print(write_config(model, output, force))


@click.command("demo")
@click.option("--cores", type=click.IntRange(1), default=2, show_default=True)
def demo(cores: int) -> None:
    """Run the whole workflow on the embedded model (make demo)."""
    from hawk.demo import demo as run

    raise click.exceptions.Exit(run(cores))


@click.command("warm", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def warm(command: tuple[str, ...]) -> None:
    """Run COMMAND, a local Snakemake, with jobs that need not import torch.

    hawk warm snakemake --cores 2
    """
    from hawk.warm import run_beside

    raise click.exceptions.Exit(run_beside(command))


COMMANDS: list[click.Command] = [
    prepare_samples,
    encode_images,
    score_samples,
    head_means,
    evaluate_pruned,
    kept_tokens,
    train_tiny,
    init,
    demo,
    warm,
]
