"""Calibration scores. One command for reference, repeats and heads, so that they cannot drift apart."""

from snakemake.resources import Resources

SCORE = "{HAWK} score-samples --config {params.config:q} {output} 2> {log}"


def score_config(wildcards):
    """What a score depends on; nothing of the evaluation."""
    keys = ["seed", "model", "preprocessing", "features", "generation"]
    if wildcards.get("intervention") == "selection":
        keys += ["scoring", "ablation.selection_ratio"]
    elif wildcards.get("intervention") and config["ablation"]["rows_per_batch"] > 1:
        keys.append("ablation.rows_per_batch")
    return part(*keys, f"data.{wildcards.benchmark}")


# Samples, features, and for the intervention mean what it puts in. A function only where it must be:
# Snakemake calls it in an event loop of its own for each of thousands of jobs.
SCORE_INPUTS = [
    PATHS.samples("calibration", "{benchmark}"),
    *([PATHS.features("calibration", "{benchmark}")] if STORED else []),
]


def score_inputs_with_means(wildcards):
    inputs = [path.format(benchmark=wildcards.benchmark) for path in SCORE_INPUTS]
    if wildcards.intervention == "mean":
        inputs.append(PATHS.head_means(wildcards.benchmark))
    return inputs


score_inputs = score_inputs_with_means if "mean" in INTERVENTIONS else SCORE_INPUTS


rule head_means:
    """Mean input of every head's o_proj slice: what the intervention mean puts in."""
    input:
        PATHS.samples("calibration", "{benchmark}"),
        feature_file("calibration"),
    output:
        PATHS.head_means("{benchmark}"),
    log:
        f"{LOGS}/scores/{{benchmark}}/head_means.log",
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory(READ),
        runtime=minutes(),
    params:
        config=lambda wc: part(
            "seed",
            "model",
            "preprocessing",
            "features",
            "generation",
            f"data.{wc.benchmark}",
        ),
    shell:
        "{HAWK} head-means --config {params.config:q} {output} 2> {log}"


rule score_reference:
    """What an intervention's drops are measured against."""
    input:
        score_inputs,
    output:
        PATHS.scores("{benchmark}", "{intervention}", "reference"),
    log:
        f"{LOGS}/scores/{{benchmark}}/{{intervention}}/reference.log",
    benchmark:
        f"{TIMES}/scores/{{benchmark}}/{{intervention}}/reference.jsonl"
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory(READ),
        runtime=minutes(),
    params:
        config=score_config,
    shell:
        SCORE


rule repeat_reference:
    """The reference again with other batches: its flips are the noise floor."""
    input:
        score_inputs,
    output:
        PATHS.scores("{benchmark}", "{intervention}", "{repeat}"),
    log:
        f"{LOGS}/scores/{{benchmark}}/{{intervention}}/{{repeat}}.log",
    benchmark:
        f"{TIMES}/scores/{{benchmark}}/{{intervention}}/{{repeat}}.jsonl"
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory(READ),
        runtime=minutes(),
    params:
        config=score_config,
    shell:
        SCORE


# One rule if every head is a job; else one rule per group of heads. Heads are told by output name,
# so regrouping them changes no params and re-runs nothing.
for _number, _heads in enumerate(HEAD_JOBS):

    rule:
        name:
            "ablate_head" if len(HEAD_JOBS) == 1 else f"ablate_heads_{_number}"
        input:
            score_inputs,
        output:
            [PATHS.scores("{benchmark}", "{intervention}", head) for head in _heads],
        log:
            f"{LOGS}/scores/{{benchmark}}/{{intervention}}/{'-'.join([_heads[0], _heads[-1]][: len(_heads)])}.log",
        benchmark:
            f"{TIMES}/scores/{{benchmark}}/{{intervention}}/{_heads[0]}.jsonl"
        conda:
            "../environment.yml"
        threads: config["model"]["threads"]
        resources:
            gpu=1,
            mem_mb=memory(READ),
            runtime=minutes(len(_heads)),
        params:
            config=score_config,
        shell:
            SCORE

    # What a profile or the command line sets for ablate_head holds for groups of heads as well.
    if len(HEAD_JOBS) > 1:
        workflow.get_rule(f"ablate_heads_{_number}").resources.update(
            Resources.from_mapping(
                workflow.resource_settings.overwrite_resources.get(
                    "ablate_head", {}
                )
            )
        )
