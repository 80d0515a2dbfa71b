"""HAWK: from head ablation to head weights to pruned evaluation.

    snakemake --cores 2                     the embedded default, config/config.yaml
    snakemake --cores 2 --configfile config/qwen2_5_vl_7b.yaml
    snakemake --cores 64 --profile slurm    the same on a cluster

Named targets stop after a stage: samples, features, ablation, weights, evaluation, tables, cost.
"""

from snakemake.utils import min_version

min_version("9.19")

# A config given on the command line is complete: it must not be merged over the default one.
if not workflow.configfiles:

    configfile: f"{workflow.current_basedir}/config/config.yaml"


report: "rules/report/workflow.rst"


include: "rules/common.smk"
include: "rules/samples.smk"
include: "rules/features.smk"
include: "rules/ablation.smk"
include: "rules/weights.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"
include: "rules/train.smk"


localrules:
    all,
    samples,
    features,
    ablation,
    weights,
    evaluation,
    tables,
    cost,


rule all:
    default_target: True
    input:
        PATHS.report(),
        FIGURES,
        TABLES,
        COST_TABLES if COST else [],
        # Named here too, so that a lost one is made again even if nothing newer needs it.
        [PATHS.drops(name) for name in ABLATIONS],
        [PATHS.stability(name) for name in ABLATIONS],
        [PATHS.head_weights(*pair) for pair in WEIGHT_FILES],
        SCORE_FILES,
        EVALUATION_FILES,


rule samples:
    input:
        [PATHS.samples(role, name) for role, name in ROLES],


rule features:
    input:
        [PATHS.features(role, name) for role, name in ROLES],


rule ablation:
    input:
        SCORE_FILES,


rule weights:
    input:
        [PATHS.head_weights(*pair) for pair in WEIGHT_FILES],


rule evaluation:
    input:
        EVALUATION_FILES,


rule tables:
    input:
        TABLES,
