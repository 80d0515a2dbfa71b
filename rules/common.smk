"""The config, checked; the lists that the rules expand over; wildcard constraints. No rules here,
and no heavy import: this is read before every dry run."""

import functools
import os
import re
import shlex
import sys
from pathlib import Path

from hawk.config import queries
from hawk.benchmarks import benchmark
from hawk.benchmarks.bases.video import VideoBenchmark
from hawk.config.checks import check
from hawk.config.load import fill
from hawk.core.paths import RunPaths

_source = ", ".join(map(str, workflow.configfiles)) or "config/config.yaml"
config = check(fill(config, _source), _source)

PATHS = RunPaths(f"outputs/{config['run']}")
LOGS = f"{PATHS.root}/logs"
TIMES = f"{PATHS.root}/benchmarks"

# Under --sdm conda or apptainer the job's own python; else the one that runs Snakemake.
_own = workflow.deployment_settings.deployment_method
HAWK = "python -m hawk" if _own else f"{shlex.quote(sys.executable)} -m hawk"


# Used under --sdm apptainer only; profiles/slurm/hawk.def builds it.
container: os.environ.get("HAWK_CONTAINER", "hawk.sif")


CALIBRATION = config["calibration"]["benchmarks"]
EVALUATION = config["evaluation"]["benchmarks"]
EVALUATION_ROLE = config["evaluation"]["role"]
INTERVENTIONS = config["ablation"]["interventions"]
HEADS = [str(head) for head in queries.ablated_heads(config)]
REPEATS = [f"repeat{n}" for n in range(1, config["statistics"]["repeats"] + 1)]
VARIANTS = [variant["name"] for variant in config["evaluation"]["variants"]]
# The cost benchmark's samples are timed; in every run, or where a run has been measured already.
COST_BENCHMARK = config["cost"]["benchmark"] or EVALUATION[0]
COST = config["cost"]["measure"] or Path(PATHS.cost()).is_file()
STORED = config["features"] == "stored"
# How much of its input a scoring job holds in memory: see memory() below.
READ = 0.1 if STORED else 4

ROLES = [("calibration", name) for name in CALIBRATION]
ROLES += [(EVALUATION_ROLE, name) for name in EVALUATION]

# Heads of one job. A wildcard stands for the head where every head is a job of its own.
_per_job = config["ablation"]["heads_per_job"]
_per_job = len(HEADS) if _per_job == "all" else _per_job
HEAD_JOBS = (
    [["{head}"]]
    if _per_job == 1
    else [HEADS[i : i + _per_job] for i in range(0, len(HEADS), _per_job)]
)

SCORE_FILES = [
    PATHS.scores(name, intervention, what)
    for name in CALIBRATION
    for intervention in INTERVENTIONS
    for what in ["reference", *REPEATS, *HEADS]
]
EVALUATION_FILES = [
    PATHS.evaluation(name, variant) for name in EVALUATION for variant in VARIANTS
] + [PATHS.baseline(name, EVALUATION_ROLE) for name in EVALUATION]


# (intervention, subset)
WEIGHT_FILES = queries.weight_files(config)


@functools.cache
def part(*keys):
    """The parts of the config that a job depends on, as JSON: its params and its argument."""
    return queries.part(config, *keys)


def feature_file(role, name="{benchmark}", view="native"):
    """A features file as an input, or no input where the vision tower runs in every job."""
    return PATHS.features(role, name, view) if STORED else []


def model_mb():
    """Size of the weights: of a folder, of a Hub id in the cache, or what a model of 7B has."""
    path = config["model"]["path"]
    hub = (
        os.environ.get("HF_HUB_CACHE")
        or f"{os.environ.get('HF_HOME', '~/.cache/huggingface')}/hub"
    )
    folders = [
        Path(path),
        *Path(hub).expanduser().glob(f"models--{path.replace('/', '--')}/snapshots/*"),
    ]
    sizes = [
        sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        for folder in folders
    ]
    return max(sizes) // 2**20 or 17_000


def megabytes(files):
    """Size of a job's input. ``input.size_mb`` starts an event loop: a quarter of a large dry run.

    A file that is not there yet raises, and Snakemake asks again when it is.
    """
    return sum(os.path.getsize(file) for file in files) / 2**20


def memory(factor):
    """Host memory in MB: libraries, weights, ``factor`` times the input. Half as much more on retry.

    Stored features are memory-mapped and count little; images to encode are read whole.
    """
    fixed = 3000 + 1.2 * model_mb()
    return lambda wildcards, input, attempt: round(
        (fixed + factor * megabytes(input)) * 1.5 ** (attempt - 1)
    )


def clips(wildcards):
    """Questions of a job that asks about videos, which are files of their own and count in no input."""
    bench = benchmark(wildcards.benchmark, config["data"].get(wildcards.benchmark))
    if not isinstance(bench, VideoBenchmark):
        return 0
    calibration = wildcards.get("role", "calibration") == "calibration"
    # A job without a role is one of the sweep, or has a variant and evaluates.
    calibration = calibration and "variant" not in wildcards.keys()
    section = config["calibration" if calibration else "evaluation"]
    return section["samples"] or bench.published_rows


def minutes(passes=1, encode=False):
    """Time limit: a start, and passes over the input at a rate any GPU reaches. Doubled on retry.

    A stored image is some megabytes of features; an encoded one, a tenth of a megabyte of file.
    A video takes a minute to decode, and its thousands of tokens seconds to score.
    """
    rate = 10.0 if STORED and not encode else 0.1  # MB per second
    seconds = 10 if STORED and not encode else 60
    return lambda wildcards, input, attempt: round(
        (15 + passes * (megabytes(input) / rate + seconds * clips(wildcards)) / 60)
        * 2 ** (attempt - 1)
    )


wildcard_constraints:
    role="calibration|development|evaluation",
    benchmark="|".join(map(re.escape, dict.fromkeys(CALIBRATION + EVALUATION))),
    intervention="|".join(INTERVENTIONS),
    head=r"L\d+H\d+",
    repeat=r"repeat\d+",
    variant="|".join(map(re.escape, VARIANTS)),
    subset=r"pooled|without-\w+",
    view=r"[\w.-]+",
