rule head_drops:
    """Drops of one ablation with intervals, noise floor and stability, from the scores of all its heads."""
    input:
        lambda wildcards: SCORES[wildcards.ablation],
        [PATHS.samples("calibration", name) for name in CALIBRATION],
    output:
        drops=PATHS.drops("{ablation}"),
        stability=PATHS.stability("{ablation}"),
    log:
        f"{LOGS}/drops/{{ablation}}.log",
    conda:
        "../environment.yml"
    params:
        config=drops_config,
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk head-drops --config {params.config:q} --run-dir {params.run:q}'
        " --ablation {wildcards.ablation:q} 2> {log:q}"


rule mean_queries:
    """Mean query of a benchmark's calibration questions: what query: calibrated asks."""
    input:
        PATHS.samples("calibration", "{benchmark}"),
        feature_file("calibration"),
    output:
        PATHS.mean_queries("{recipe}", "{benchmark}"),
    log:
        f"{LOGS}/mean_queries/{{recipe}}/{{benchmark}}.log",
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=RESOURCES.memory(RESOURCES.scoring),
        runtime=RESOURCES.minutes(),
    params:
        model=MODEL,
        config=queries_config,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk mean-queries --config {params.config:q} {output:q} 2> {log:q}'


rule head_weights:
    """Drops of one ablation's own layer → normalized head weights; of several, of the best layer."""
    input:
        query_inputs,
        lambda wildcards: [
            PATHS.drops(name)
            for name in recipes.ablation_names(
                recipes.weights_named(config, wildcards.recipe)
            )
        ],
        [PATHS.samples("calibration", name) for name in CALIBRATION],
    output:
        PATHS.head_weights("{recipe}", "{subset}"),
    log:
        f"{LOGS}/head_weights/{{recipe}}/{{subset}}.log",
    conda:
        "../environment.yml"
    params:
        config=weights_config,
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk head-weights --config {params.config:q} --run-dir {params.run:q}'
        " --recipe {wildcards.recipe:q} --subset {wildcards.subset:q} 2> {log:q}"
