rule head_drops:
    """Drops with intervals, noise floor and stability, from the scores of all heads."""
    input:
        SCORE_FILES,
        [PATHS.samples("calibration", name) for name in CALIBRATION],
    output:
        drops=PATHS.drops(),
        stability=PATHS.stability(),
    log:
        f"{LOGS}/drops.log",
    conda:
        "../environment.yml"
    params:
        config=part(
            "run",
            "seed",
            "model",
            "scoring",
            "ablation",
            "calibration",
            "statistics",
            "data",
        ),
    shell:
        "{HAWK} head-drops --config {params.config:q} --run-dir {PATHS.root:q} 2> {log}"


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
        config=part(
            "run",
            "seed",
            "model",
            "scoring",
            "ablation",
            "calibration",
            "statistics",
            "weights",
            "data",
        ),
    shell:
        "{HAWK} head-weights --config {params.config:q} --run-dir {PATHS.root:q}"
        " --intervention {wildcards.intervention} --subset {wildcards.subset} 2> {log}"
