"""The config, checked; the lists that the rules expand over; input and params functions; wildcard
constraints. Nothing here imports more than PyYAML and jsonschema: this is read before every dry run.
"""

import os
import re
import sys
from functools import cache
from pathlib import Path

# A clone in which hawk is not installed. At the end: an installed hawk comes first.
sys.path.append(str(Path(str(workflow.current_basedir)).parent))

from hawk.config import queries, recipes
from hawk.config.checks import check
from hawk.config.declared import step_reads
from hawk.config.load import fill
from hawk.config.resources import JobResources
from hawk.core.paths import RunPaths
from hawk.core.yaml_files import read_yaml
from hawk.core.yaml_places import Places
from hawk.report.figures import pictures

for (
    file
) in (
    workflow.configfiles
):  # again, strictly: Snakemake takes the last of two equal keys
    read_yaml(file)
config_places = Places(workflow.configfiles, dict(config))
config = check(fill(config, config_places), config_places)

PATHS = RunPaths(f"outputs/{config['run']}")
LOGS = f"{PATHS.root}/logs"
TIMES = f"{PATHS.root}/benchmarks"

# Which python runs the jobs: under --sdm conda or apptainer their own, else the one that runs Snakemake. In
# the environment and never in params: the same python has several names, and another name of it (or a venv
# that was moved) would run every finished job again.
os.environ.update(
    HAWK_PYTHON=(
        "python" if workflow.deployment_settings.deployment_method else sys.executable
    )
)


# Used under --sdm apptainer only; profiles/slurm/hawk.def builds it.
container: os.environ.get("HAWK_CONTAINER", "hawk.sif")


CALIBRATION = config["calibration"]["benchmarks"]
EVALUATION = config["evaluation"]["benchmarks"]
EVALUATION_ROLE = config["evaluation"]["role"]
ABLATIONS = [ablation["name"] for ablation in config["ablation"]["recipes"]]
# The others are estimates.
MEASURED = [ablation["name"] for ablation in recipes.measured(config)]
HEAD_GROUPS = recipes.head_groups(config)
REPEATS = [f"repeat{n}" for n in range(1, config["statistics"]["repeats"] + 1)]
VARIANTS = [variant["name"] for variant in config["evaluation"]["variants"]]
# Cost is measured in every run, or shown where a run has been measured already.
COST = config["cost"]["measure"] or Path(PATHS.cost()).is_file()
COST_BENCHMARK = queries.cost_benchmark(config)
WEIGHT_FILES = queries.weight_files(config)  # (weights recipe, subset)
# What figures are drawn from. Stability is about heads of an ablation's own layer; weights need all of them.
RUN_PARTS = ["retention"]
if MEASURED:
    RUN_PARTS.append("drops")
if any(
    ablation["layer"] in recipes.layers(ablation)
    for ablation in recipes.measured(config)
):
    RUN_PARTS.append("stability")
if WEIGHT_FILES:
    RUN_PARTS.append("weights")
if COST:
    RUN_PARTS.append("cost")
RESOURCES = JobResources(config)
MODEL = queries.model_state(
    config["model"]["path"]
)  # a replaced model re-runs its jobs

ROLES = [
    *(("calibration", name) for name in CALIBRATION),
    *((EVALUATION_ROLE, name) for name in EVALUATION),
]
SCORES = {  # by ablation
    ablation["name"]: (
        [PATHS.head_gradients(ablation["name"], name) for name in CALIBRATION]
        if ablation["name"] not in MEASURED
        else [
            PATHS.scores(name, ablation["name"], which)
            for name in CALIBRATION
            for which in [
                "reference",
                *REPEATS,
                *map(str, recipes.ablated_heads(config, ablation)),
            ]
        ]
    )
    for ablation in config["ablation"]["recipes"]
}
SCORE_FILES = [file for files in SCORES.values() for file in files]
EVALUATION_FILES = [
    *(PATHS.evaluation(name, variant) for name in EVALUATION for variant in VARIANTS),
    *(PATHS.baseline(name, EVALUATION_ROLE) for name in EVALUATION),
]


@cache
def config_subset(step, more=None, **names):
    """The config keys that a step declares in its READS, as JSON: a job's params and its argument."""
    return queries.config_subset(config, *step_reads(step, more, **names))


def samples_config(wildcards):
    section = queries.samples_section(wildcards.role)
    return config_subset(
        "prepare_samples", section=section, benchmark=wildcards.benchmark
    )


def sample_sources(wildcards):
    """The definition and table of a benchmark of one's own."""
    return queries.sample_sources(config, wildcards.benchmark)


def benchmark_config(step):
    return lambda wildcards: config_subset(step, benchmark=wildcards.benchmark)


def score_config(wildcards):
    """What a score depends on: of the ablations its own, and nothing of the evaluation."""
    return score_subset(wildcards.get("ablation"), wildcards.benchmark)


@cache  # of thousands of heads it is the same
def score_subset(ablation, benchmark):
    keys = step_reads(
        "score_samples", queries.score_more(config, ablation), benchmark=benchmark
    )
    return queries.config_subset(recipes.with_ablation(config, ablation), *keys)


def drops_config(wildcards):
    """What an ablation's drops depend on: of the ablations only itself."""
    narrowed = recipes.with_ablation(config, wildcards.ablation, layers=True)
    return queries.config_subset(narrowed, *step_reads("head_drops"))


def weights_config(wildcards):
    """What head weights depend on: their recipe and its ablations."""
    narrowed = queries.with_weights(config, wildcards.recipe)
    return queries.config_subset(narrowed, *step_reads("head_weights"))


def screen_config(wildcards):
    """What an estimate depends on: of the ablations only itself."""
    narrowed = recipes.with_ablation(config, wildcards.ablation, layers=True)
    keys = step_reads("screen_heads", benchmark=wildcards.benchmark)
    return queries.config_subset(narrowed, *keys)


def queries_config(wildcards):
    """What a recipe's mean query depends on: that recipe and its ablation."""
    narrowed = queries.with_weights(config, wildcards.recipe)
    keys = step_reads("mean_queries", benchmark=wildcards.benchmark)
    return queries.config_subset(narrowed, *keys)


def query_inputs(wildcards):
    """For weights with a calibrated query, those of the benchmarks that they are made from."""
    if not recipes.has_query(config, wildcards.recipe):
        return []
    names = queries.subset_benchmarks(config, wildcards.subset)
    return [PATHS.mean_queries(wildcards.recipe, name) for name in names]


def variant_config(wildcards):
    """What a variant's evaluation depends on: itself and its weights, not the other variants."""
    narrowed = queries.with_variants(config, [wildcards.variant])
    keys = step_reads("evaluate_pruned", benchmark=wildcards.benchmark)
    return queries.config_subset(narrowed, *keys)


def cost_config(wildcards):
    """What measured cost depends on: of the variants, those that are measured."""
    narrowed = queries.with_variants(config, queries.cost_variants(config))
    keys = step_reads("measure_cost", benchmark=COST_BENCHMARK)
    return queries.config_subset(narrowed, *keys)


def run_dir(wildcards, output):
    """The run's folder where the job runs: with other storage, outputs may lie below another place."""
    before, root, _ = output[0].partition(PATHS.root)
    return before + root


def with_png(figure):
    """A figure as SVG and as PNG."""
    return [figure, figure.removesuffix("svg") + "png"]


def feature_file(role, name="{benchmark}"):
    """A features file as an input, or no input where the vision tower runs in every job."""
    return PATHS.features(role, name) if RESOURCES.stored else []


def mean_inputs(wildcards):
    """For the intervention mean, what it puts in."""
    is_mean = wildcards.ablation in MEAN
    return PATHS.head_means(wildcards.benchmark) if is_mean else []


def variant_weights(wildcards):
    """The weight file that a variant uses, if any; of the run's own, the images it was calibrated on."""
    variant = queries.variant_named(config, wildcards.variant)
    subset = queries.weights_subset(config, variant, wildcards.benchmark)
    if subset is None:
        return queries.weights_path(config, variant) or []
    return [
        PATHS.head_weights(*subset),
        *(PATHS.samples("calibration", n) for n in CALIBRATION),
    ]


def same_overrides(name, other):
    """What a profile or the command line sets for one rule (set-resources) holds for another as well.

    Snakemake has no setting for several rules and looks for a rule's exact name, so its workflow object is asked;
    a module that is imported with a prefix has it in both names.
    """
    full = workflow.modifier.modify_rulename
    given = workflow.resource_settings.overwrite_resources.get(full(other), {})
    workflow.get_rule(full(name)).resources.update(given)


MEAN = [
    ablation["name"]
    for ablation in config["ablation"]["recipes"]
    if ablation["intervention"] == "mean"
]
# Samples, features, and for the intervention mean what it puts in. A function only where it must be:
# Snakemake calls it in an event loop of its own for each of thousands of jobs.
SCORE_INPUTS = [
    PATHS.samples("calibration", "{benchmark}"),
    feature_file("calibration"),
    *([mean_inputs] if MEAN else []),
]
EVALUATION_PASSES = queries.evaluation_passes(config)


wildcard_constraints:
    role="calibration|development|evaluation",
    benchmark="|".join(map(re.escape, dict.fromkeys(CALIBRATION + EVALUATION))),
    ablation="|".join(map(re.escape, ABLATIONS)),
    recipe="|".join(map(re.escape, queries.own_weights(config))) or "none",
    head=r"L\d+H\d+",
    repeat=r"repeat\d+",
    variant="|".join(map(re.escape, VARIANTS)),
    subset=r"pooled|without-\w+",
