rule prepare_samples:
    """Load a benchmark and draw a role's questions: the only step that may use the network."""
    output:
        PATHS.samples("{role}", "{benchmark}"),
    log:
        f"{LOGS}/samples/{{role}}/{{benchmark}}.log",
    localrule: True
    conda:
        "../environment.yml"
    params:
        config=lambda wc: part(
            "seed",
            "calibration.holdout",
            "evaluation.development",
            f"{'calibration' if wc.role == 'calibration' else 'evaluation'}.samples",
            f"{'calibration' if wc.role == 'calibration' else 'evaluation'}.strict",
            f"data.{wc.benchmark}",
        ),
    shell:
        "{HAWK} prepare-samples --config {params.config:q} {output} 2> {log}"
