"""The steps that Snakemake runs. Each reads its inputs from the run's folder."""

from __future__ import annotations

import logging

import click

from hawk.cli.options import _features, config_option, produce, read_config, split_path, unfinished
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths

log = logging.getLogger("hawk")


@click.command("prepare-samples")
@config_option
@click.argument("output")
def prepare_samples(config_source: str, output: str) -> None:
    """Load a benchmark and draw a role's samples.

    OUTPUT is outputs/RUN/samples/ROLE/BENCHMARK.parquet.
    """
    config = read_config(config_source)
    _, names = split_path(output, "samples", "role", "benchmark")
    from hawk.steps.prepare_samples import prepare_samples as step

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
    from hawk.steps.encode_images import encode_images as step

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
    from hawk.steps.score_samples import score_step

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
    from hawk.steps.head_means import head_means_step

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
    from hawk.config.queries import variant_named, weights_subset
    from hawk.steps.evaluate_pruned import evaluate_step

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
    from hawk.steps.kept_tokens import kept_tokens_step

    for path in kept_tokens_step(config, run_dir):
        log.info("wrote %s", path)


COMMANDS: list[click.Command] = [
    prepare_samples,
    encode_images,
    score_samples,
    head_means,
    evaluate_pruned,
    kept_tokens,
]
