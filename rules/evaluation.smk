use rule score_reference as score_baseline with:
    # The model with all its visual tokens.
    input:
        PATHS.samples("{role}", "{benchmark}"),
        feature_file("{role}"),
    output:
        PATHS.baseline("{benchmark}", "{role}"),
    log:
        f"{LOGS}/scores/{{benchmark}}/baseline/{{role}}.log",
    benchmark:
        f"{TIMES}/scores/{{benchmark}}/baseline/{{role}}.jsonl"


rule evaluate_pruned:
    """One variant on one benchmark at every ratio and seed; the model is loaded once."""
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
        mem_mb=RESOURCES.memory(RESOURCES.scoring),
        runtime=RESOURCES.minutes(EVALUATION_PASSES),
    params:
        model=MODEL,
        config=variant_config,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk evaluate-pruned --config {params.config:q} {output:q} 2> {log:q}'


rule measure_cost:
    """Time by phase, KV cache and memory of every variant and ratio, beside the unpruned model."""
    input:
        PATHS.samples(EVALUATION_ROLE, COST_BENCHMARK),
        [PATHS.head_weights(name) for name in queries.cost_weights(config)],
    output:
        PATHS.cost(),
    log:
        f"{LOGS}/measure_cost.log",
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=RESOURCES.memory(4),
        runtime=lambda wildcards, attempt: 60 * 2 ** (attempt - 1),
    params:
        model=MODEL,
        config=cost_config,
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk measure-cost --config {params.config:q} --run-dir {params.run:q} 2> {log:q}'
