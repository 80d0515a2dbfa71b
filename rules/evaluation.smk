def variant_config(wildcards):
    """What a variant's evaluation depends on: itself, not the other variants."""
    variant = queries.variant_named(config, wildcards.variant)
    own = {**config, "evaluation": {**config["evaluation"], "variants": [variant]}}
    return queries.part(
        own,
        "seed",
        "model",
        "preprocessing",
        "features",
        "generation",
        "scoring",
        "calibration.holdout",
        "evaluation.ratios",
        "evaluation.rounding",
        "evaluation.budget",
        "evaluation.position_policy",
        "evaluation.role",
        "evaluation.variants",
        f"data.{wildcards.benchmark}",
    )


def variant_weights(wildcards):
    """The weight file that a variant uses, if any; of the run's own, the images it was calibrated on."""
    variant = queries.variant_named(config, wildcards.variant)
    subset = queries.weights_subset(config, variant, wildcards.benchmark)
    if subset is None:
        return queries.weights_path(variant) or []
    return [
        PATHS.head_weights(*subset),
        *(PATHS.samples("calibration", n) for n in CALIBRATION),
    ]


rule score_baseline:
    """The model with all its visual tokens."""
    input:
        PATHS.samples("{role}", "{benchmark}"),
        feature_file("{role}"),
    output:
        PATHS.baseline("{benchmark}", "{role}"),
    log:
        f"{LOGS}/scores/{{benchmark}}/baseline/{{role}}.log",
    benchmark:
        f"{TIMES}/scores/{{benchmark}}/baseline/{{role}}.jsonl"
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


# One job scores all ratios and seeds of its variant.
EVALUATION_PASSES = len(config["evaluation"]["ratios"]) * max(
    variant.get("seeds", 1) for variant in config["evaluation"]["variants"]
)


rule evaluate_pruned:
    """One variant on one benchmark at every ratio and seed."""
    input:
        PATHS.samples(EVALUATION_ROLE, "{benchmark}"),
        feature_file(EVALUATION_ROLE),
        variant_weights,
    output:
        PATHS.evaluation("{benchmark}", "{variant}"),
    log:
        f"{LOGS}/evaluation/{{benchmark}}/{{variant}}.log",
    benchmark:
        f"{TIMES}/evaluation/{{benchmark}}/{{variant}}.jsonl"
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory(READ),
        runtime=minutes(EVALUATION_PASSES),
    params:
        config=variant_config,
    shell:
        "{HAWK} evaluate-pruned --config {params.config:q} {output} 2> {log}"


def cost_config(wildcards):
    """What measured cost depends on: of the variants, those that are measured."""
    wanted = config["cost"]["variants"] or VARIANTS
    variants = [v for v in config["evaluation"]["variants"] if v["name"] in wanted]
    own = {**config, "evaluation": {**config["evaluation"], "variants": variants}}
    own["cost"] = {
        key: value for key, value in config["cost"].items() if key != "measure"
    }
    own["cost"]["benchmark"] = COST_BENCHMARK
    return queries.part(
        own,
        "seed",
        "model",
        "preprocessing",
        "generation",
        "scoring",
        "cost",
        "evaluation.benchmarks",
        "evaluation.ratios",
        "evaluation.role",
        "evaluation.variants",
        f"data.{COST_BENCHMARK}",
    )


rule measure_cost:
    """Time by phase, KV cache and memory of every variant and ratio, beside the unpruned model."""
    input:
        PATHS.samples(EVALUATION_ROLE, COST_BENCHMARK),
    output:
        PATHS.cost(),
    log:
        f"{LOGS}/cost.log",
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory(4),
        runtime=lambda wildcards, attempt: 60 * 2 ** (attempt - 1),
    params:
        config=cost_config,
    shell:
        "{HAWK} measure-cost --config {params.config:q} {output} 2> {log}"
