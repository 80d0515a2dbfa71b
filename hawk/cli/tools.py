"""Commands for people: start, inspect, compare, plan, fetch, try."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import click

from hawk.cli.options import Command, compute_alone, config_option, run_of
from hawk.core.errors import InputError, unknown
from hawk.core.paths import RunPaths

log = logging.getLogger("hawk")

RESULTS = ("samples", "scores", "evaluation")  # what a run's folder has, and that of compared runs has not


@click.command("show", cls=Command)
@click.argument("path")
def show(path: str) -> None:
    """Print what a file or folder of a run holds.

    Head weights are shown as bars, a table as a summary.

    PATH is a .json or .parquet file, the name of shipped head weights, or a run's folder, whose files are
    then listed.
    """
    from hawk.tools.show import show as text_of

    click.echo(text_of(path))


@click.command("compare", cls=Command)
@config_option
@click.option(
    "--run-dir",
    "run_dirs",
    multiple=True,
    help="The run's folder; outputs/RUN by the config's own name if not given. Several: one per model.",
)
@click.option("--output", default=None, help="The folder of the tables and plots of several runs.")
@click.option("--benchmark", default="overall", show_default=True, help="Which table to print.")
def compare(config_source: str, run_dirs: tuple[str, ...], output: str | None, benchmark: str) -> None:
    """Compare variants: write tables and plots, print a table.

    From the evaluation files that exist. Several runs (one config, several models) are compared together:
    a row is then the mean over runs, and p-values are corrected over all variants, ratios and benchmarks.
    Hypotheses that the config declares are a family of their own.
    """
    compute_alone()
    roots = [run_of(config_source, folder).root for folder in run_dirs or (None,)]
    if len({Path(folder).resolve() for folder in roots}) != len(roots):
        raise InputError(f"--run-dir: a folder is given twice among {', '.join(roots)}.")
    if (len(roots) > 1) != (output is not None):
        raise InputError("--output: several --run-dir need it, and only they; one run's tables lie in it.")
    if output == "":
        raise InputError("--output: '' is no folder; give a name.")
    root = output or roots[0]
    if output is not None and any(Path(output, name).exists() for name in RESULTS):
        raise InputError(f"--output: {output!r} is the folder of a run, whose own tables would be replaced.")
    from hawk.config.load import load_config
    from hawk.report.tables import hypotheses_text, read_hypotheses, read_retention, text_table
    from hawk.steps.make_figures import retention_figures
    from hawk.steps.make_tables import make_tables

    config = load_config(config_source)
    if benchmark not in ("overall", *config["evaluation"]["benchmarks"]):
        raise unknown("benchmark", benchmark, ["overall", *config["evaluation"]["benchmarks"]])
    paths = [*make_tables(config, root, roots), *retention_figures(root)]
    frame, settings = read_retention(root)
    click.echo(text_table(frame, benchmark, settings))
    if (declared := read_hypotheses(root)) is not None:
        click.echo(f"\n{hypotheses_text(*declared)}")
    for path in paths:
        log.info("wrote %s", path)


@click.command("sensitivity", cls=Command)
@click.option(
    "--run-dir", "run_dirs", multiple=True, required=True, help="The folder of a run; give two or more."
)
@click.option("--output", default=None, help="Also write the rankings as CSV.")
def sensitivity(run_dirs: tuple[str, ...], output: str | None) -> None:
    """Show how the ranking of variants changes between runs.

    The runs should differ in one setting.
    """
    from hawk.core.atomic import check_output, write_text
    from hawk.tools.sensitivity import rankings, rankings_text, read_runs

    if output is not None:
        check_output(output)
        for folder in run_dirs:
            RunPaths(folder).refuse_own("--output", output)
    table = rankings(read_runs(run_dirs))
    click.echo(rankings_text(table))
    if output is not None:
        write_text(output, table.to_csv(index=False))
        log.info("wrote %s", output)


@click.command(cls=Command)
@click.option("--benchmark", "name", required=True, help="The benchmark that was answered.")
@click.option(
    "--protocol",
    default=None,
    help="Scoring rules: vlmevalkit, ms-vlmeval-0.0.18, lmms-eval; default: the file's, else vlmevalkit.",
)
@click.option(
    "--predictions",
    required=True,
    type=click.Path(path_type=Path),
    help="A parquet file of a run, a JSONL file, or VLMEvalKit's xlsx or tsv.",
)
@click.option(
    "--samples",
    default=None,
    type=click.Path(path_type=Path),
    help="The samples file of that run, if it has been moved.",
)
@click.option(
    "--rows",
    default=None,
    type=click.Path(path_type=Path),
    help="Write the score of every row to this JSONL file.",
)
@click.option("--definition", default=None, help="The YAML of a benchmark of your own.")
def score(
    name: str,
    protocol: str | None,
    predictions: Path,
    samples: Path | None,
    rows: Path | None,
    definition: str | None,
) -> None:
    """Score saved predictions again, without a model. Prints the aggregate as JSON.

    The text of each prediction is read anew: a score and parsed in a JSONL file's rows are ignored.
    """
    from hawk.benchmarks import REGISTRY, benchmark, require_data_file
    from hawk.benchmarks.rules import protocols
    from hawk.tools.rescore import score_predictions

    if protocol is not None and protocol not in protocols.ALL:
        raise unknown("--protocol", protocol, protocols.ALL)
    if definition is not None and name in REGISTRY:
        raise InputError(f"--definition is for a benchmark of your own; {name!r} is one of hawk's.")
    options = {"definition": definition} if definition else {}
    if definition:
        require_data_file(benchmark(name, options))
    results = score_predictions(name, protocol, predictions, samples=samples, rows=rows, options=options)
    click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2, ensure_ascii=False))


@click.command(cls=Command)
@click.option("--config", "config_source", required=True, help="The config of the run.")
@click.option(
    "--ledger",
    default=None,
    type=click.Path(path_type=Path),
    help="Where downloaded versions are recorded; default: data/versions.tsv.",
)
def fetch(config_source: str, ledger: Path | None) -> None:
    """Download the model and the data of a run.

    Needs a network. It may be interrupted and repeated.
    """
    from hawk.tools.fetch import fetch_config

    for entry in fetch_config(config_source, ledger):
        click.echo(f"{entry['kind']} {entry['name']}: {entry['id']} @ {entry['revision'][:12]}")


@click.command(cls=Command)
@click.option("--config", "config_source", required=True, help="The config of the run.")
@click.option(
    "--measure",
    type=click.IntRange(1, 1000),
    default=None,
    metavar="N",
    help="Time N samples on this machine for hours and disk; loads the model.",
)
@click.option(
    "--card", default=None, help="Estimate hours and disk: a100, h100, h200, l40s, rtx4090 or v100."
)
@click.option(
    "--parameters",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="BILLIONS",
    help="Size of the model, for --card, if its name does not say it.",
)
def plan(config_source: str, measure: int | None, card: str | None, parameters: float | None) -> None:
    """Count the jobs of a run, and estimate its hours and disk.

    Jobs and scored samples are counted by arithmetic; hours and disk need --card or --measure.
    """
    from hawk.config.load import load_config
    from hawk.core.gpu import claim
    from hawk.tools.plan import plan as text_of

    config = load_config(config_source)
    if parameters is not None and not math.isfinite(parameters):
        raise InputError(f"--parameters {parameters}: a finite number of billions is allowed.")
    if parameters is not None and card is None:
        raise InputError(f"--parameters {parameters:g}: only an estimate asks for it; give --card as well.")
    if measure and card is not None:
        raise InputError("give --card, which estimates, or --measure, which times this machine; not both.")
    if measure:
        claim(config["model"]["device"])
    click.echo(text_of(config, measure or 0, card, None if parameters is None else parameters * 1e9))


@click.command("train-tiny", cls=Command)
@click.option("--family", type=click.Choice(["qwen2_5_vl", "internvl"]), default="qwen2_5_vl")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--continue",
    "start",
    type=click.Path(exists=True, file_okay=False),
    help="A folder whose model lacks only the last cycle, in which parts of the visual tokens are hidden.",
)
@click.argument("output", type=click.Path())
def train_tiny(family: str, seed: int, start: str | None, output: str) -> None:
    """Train one of the small models that ship with hawk.

    From random weights, into the folder OUTPUT; about an hour on one core.
    """
    from hawk.training.train import continue_folder, train

    if start is None:
        train(family, seed, Path(output))
    else:
        continue_folder(Path(start), seed, Path(output))
    log.info("wrote %s", output)


@click.command("init", cls=Command)
@click.argument("model", type=click.Path())
@click.option("--output", type=click.Path(), help="Default: config/<name of the model>.yaml.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def init(model: str, output: str | None, force: bool) -> None:
    """Write a config for MODEL, a folder or a Hub id.

    Layers and heads are read from the model's own config.
    """
    from hawk.tools.init import write_config

    print(write_config(model, output, force))


@click.command("demo", cls=Command)
@click.option("--cores", type=click.IntRange(1), default=2, show_default=True, help="CPU cores to use.")
def demo(cores: int) -> None:
    """Run the workflow on the small model that ships with hawk."""
    from hawk.tools.demo import demo as run

    raise click.exceptions.Exit(run(cores))


class _PassesTargets(Command):
    """Hands ``--`` and what stands behind it, the targets, on to Snakemake; click drops the dashes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        own, targets = args[:end], args[end:]
        rest = super().parse_args(ctx, own)
        ctx.params["arguments"] = (*ctx.params["arguments"], *targets)
        return rest


@click.command("run", cls=_PassesTargets, context_settings={"ignore_unknown_options": True})
@click.option(
    "--configfile", default=None, help="A config file, or the name of a shipped config; default: the demo's."
)
@click.option(
    "--full-output",
    is_flag=True,
    help="Show all that Snakemake prints, not just stage, jobs done and time left.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(configfile: str | None, full_output: bool, arguments: tuple[str, ...]) -> None:
    """Run the workflow, with its outputs in this folder.

    Further ARGUMENTS are Snakemake's: targets and options. With -n it prints the number of jobs per rule.

    hawk run --configfile tiny_internvl --cores 2
    """
    from hawk.tools.run import run as run_workflow

    raise click.exceptions.Exit(run_workflow(configfile, arguments, full_output))


# Every word from the command's name on is the command's, "--" included.
@click.command(
    "warm", cls=Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def warm(command: tuple[str, ...]) -> None:
    """Run a local Snakemake faster: jobs need not import torch.

    COMMAND is the snakemake command. Its jobs are forks of one process that has imported torch already.

    hawk warm snakemake --cores 2
    """
    from hawk.tools.warm import run_beside

    raise click.exceptions.Exit(run_beside(command))


COMMANDS: list[click.Command] = [
    init,
    plan,
    fetch,
    run,
    demo,
    warm,
    train_tiny,
    score,
    show,
    compare,
    sensitivity,
]
