rule head_drops:
    """Drops with intervals, noise floor and stability, from the scores of all heads."""
    input:
        SCORE_FILES,
        [PATHS.samples("calibration", name) for name in CALIBRATION],
    output:
        drops=PATHS.drops(),
        stability=PATHS.stability(),
    log:
        f"{LOGS}/head_drops.log",
    conda:
        "../environment.yml"
    params:
        config=config_subset("head_drops"),
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk head-drops --config {params.config:q} --run-dir {params.run:q} 2> {log:q}'


rule head_weights:
    """Drops of the scoring layer → normalized head weights."""
    input:
        PATHS.drops(),
        [PATHS.samples("calibration", name) for name in CALIBRATION],
    output:
        PATHS.head_weights("{intervention}", "{subset}"),
    log:
        f"{LOGS}/head_weights/{{intervention}}/{{subset}}.log",
    conda:
        "../environment.yml"
    params:
        config=config_subset("head_weights"),
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk head-weights --config {params.config:q} --run-dir {params.run:q}'
        " --intervention {wildcards.intervention:q} --subset {wildcards.subset:q} 2> {log:q}"
