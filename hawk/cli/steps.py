"""The steps that load data or run the model. Each is one rule, one command and one file of one name.

What a step makes one file of is named by that file, OUTPUT, from which the run's folder follows; a step
over a whole run takes --run-dir (hawk.cli.analysis has the others of that kind).
"""

from __future__ import annotations

import logging

import click

from hawk.cli.options import Command, config_option, produce, read_config, run_dir_option, run_of, unfinished
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths

log = logging.getLogger("hawk")


@click.command("prepare-samples", cls=Command)
@config_option
@click.argument("output")
def prepare_samples(config_source: str, output: str) -> None:
    """Load a benchmark and draw the samples of a role.

    OUTPUT is outputs/RUN/samples/ROLE/BENCHMARK.parquet.
    """
    paths, _, names = RunPaths.parse(output, "samples")
    from hawk.config.queries import samples_section

    section = samples_section(names["role"])
    benchmark = names["benchmark"]
    config = read_config(config_source, "prepare_samples", section=section, benchmark=benchmark)
    from hawk.steps.prepare_samples import prepare_samples as step

    produce(output, lambda: step(config, paths, **names))


@click.command("encode-images", cls=Command)
@config_option
@click.argument("output")
def encode_images(config_source: str, output: str) -> None:
    """Run the vision tower once per image; store its output.

    OUTPUT is outputs/RUN/features/ROLE/BENCHMARK.safetensors.
    """
    paths, _, names = RunPaths.parse(output, "features")
    config = read_config(config_source, "encode_images", gpu=True)
    from hawk.steps.encode_images import encode_images as step

    produce(output, lambda: step(config, paths, **names))


@click.command("head-means", cls=Command)
@config_option
@click.argument("output")
def head_means(config_source: str, output: str) -> None:
    """Compute the mean output of every attention head.

    Over the calibration samples; the intervention mean puts it in the place of a head's output.

    OUTPUT is outputs/RUN/scores/BENCHMARK/head_means.safetensors.
    """
    paths, _, names = RunPaths.parse(output, "head_means")
    benchmark = names["benchmark"]
    config = read_config(config_source, "head_means", gpu=True, benchmark=benchmark)
    from hawk.steps.head_means import head_means as step
    from hawk.steps.session import Session

    produce(output, lambda: step(Session.open(config, paths, benchmark, "calibration")))


@click.command("screen-heads", cls=Command)
@config_option
@click.argument("output")
def screen_heads(config_source: str, output: str) -> None:
    """Estimate the drop of every head from gradients.

    For ablations whose intervention is gradient: no head is switched off.

    OUTPUT is outputs/RUN/head_gradients/ABLATION/BENCHMARK.parquet.
    """
    paths, _, names = RunPaths.parse(output, "head_gradients")
    benchmark = names["benchmark"]
    config = read_config(config_source, "screen_heads", gpu=True, benchmark=benchmark)
    from hawk.config.recipes import ablation_named, check_estimate

    ablation = check_estimate(ablation_named(config, names["ablation"]))
    from hawk.steps.screen_heads import screen_heads as step
    from hawk.steps.session import Session

    produce(output, lambda: step(Session.open(config, paths, benchmark, "calibration"), ablation))


@click.command("mean-queries", cls=Command)
@config_option
@click.argument("output")
def mean_queries(config_source: str, output: str) -> None:
    """Compute the mean query of the calibration questions.

    Only weights recipes with query: calibrated need it.

    OUTPUT is outputs/RUN/mean_queries/RECIPE/BENCHMARK.json.
    """
    paths, _, names = RunPaths.parse(output, "mean_queries")
    benchmark = names["benchmark"]
    config = read_config(config_source, "mean_queries", gpu=True, benchmark=benchmark)
    from hawk.steps.mean_queries import mean_queries as step
    from hawk.steps.session import Session

    produce(output, lambda: step(Session.open(config, paths, benchmark, "calibration"), names["recipe"]))


@click.command("score-samples", cls=Command)
@config_option
@click.argument("outputs", nargs=-1, required=True)
def score_samples(config_source: str, outputs: tuple[str, ...]) -> None:
    """Score the answers without pruning, or with ablated heads.

    OUTPUTS name what to score, all of one benchmark and ablation:
    outputs/RUN/scores/BENCHMARK/baseline/ROLE.parquet,
    outputs/RUN/scores/BENCHMARK/ABLATION/{reference,repeat1,L0H17}.parquet.
    """
    parsed = [RunPaths.parse(output, "baseline", "scores") for output in outputs]
    groups = {
        (paths.root, names["benchmark"], names.get("ablation"), names.get("role", "calibration"))
        for paths, _, names in parsed
    }
    if len(groups) != 1:
        raise InputError("the outputs of one call must share run, benchmark, ablation and role.")
    ((root, benchmark, name, role),) = groups
    from hawk.config.load import load_config
    from hawk.config.queries import score_more
    from hawk.config.recipes import ablation_named, check_estimate

    more = score_more(load_config(config_source), name)
    config = read_config(config_source, "score_samples", more, gpu=True, benchmark=benchmark)
    ablation = None if name is None else check_estimate(ablation_named(config, name), wanted=False)
    rows = config["ablation"]["rows_per_batch"] if more == "rows" else 1
    jobs = {output: names.get("name", "reference") for output, (_, _, names) in zip(outputs, parsed)}
    from hawk.steps.score_samples import score_samples as step
    from hawk.steps.session import Session

    with unfinished(list(outputs)) as missing:
        if missing:
            session = Session.open(config, RunPaths(root), benchmark, role)
            step(session, [(jobs[output], output) for output in missing], ablation, rows)
    for output in outputs:
        log.info("wrote %s", output)


@click.command("evaluate-pruned", cls=Command)
@config_option
@click.argument("output")
def evaluate_pruned(config_source: str, output: str) -> None:
    """Score one variant at all pruning ratios and seeds.

    OUTPUT is outputs/RUN/evaluation/BENCHMARK/VARIANT.parquet.
    """
    paths, _, names = RunPaths.parse(output, "evaluation")
    benchmark, variant = names["benchmark"], names["variant"]
    config = read_config(config_source, "evaluate_pruned", gpu=True, benchmark=benchmark)
    from hawk.steps.evaluate_pruned import evaluate_pruned as step
    from hawk.steps.evaluate_pruned import open_session

    produce(output, lambda: step(open_session(config, paths, benchmark, variant), variant))


@click.command("measure-cost", cls=Command)
@config_option
@run_dir_option
def measure_cost(config_source: str, run_dir: str | None) -> None:
    """Measure time and memory of every variant and ratio.

    Also the KV cache's size; the unpruned model runs in the same process. Writes cost.parquet in the run's
    folder.
    """
    paths = run_of(config_source, run_dir)
    from hawk.config.load import load_config
    from hawk.config.queries import cost_benchmark

    benchmark = cost_benchmark(load_config(config_source))
    config = read_config(config_source, "measure_cost", gpu=True, benchmark=benchmark)
    from hawk.steps.measure_cost import measure_cost as step

    produce(paths.cost(), lambda: step(config, paths))


@click.command("kept-tokens", cls=Command)
@config_option
@run_dir_option
def kept_tokens(config_source: str, run_dir: str | None) -> None:
    """Draw the tokens that each variant keeps of a few images.

    Writes figures/kept_tokens in the run's folder.
    """
    paths = run_of(config_source, run_dir)
    config = read_config(config_source, "kept_tokens", gpu=True)
    from hawk.steps.kept_tokens import kept_tokens as step

    for path in step(config, paths):
        log.info("wrote %s", path)


COMMANDS: list[click.Command] = [
    prepare_samples,
    encode_images,
    head_means,
    screen_heads,
    mean_queries,
    score_samples,
    evaluate_pruned,
    measure_cost,
    kept_tokens,
]
