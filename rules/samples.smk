rule prepare_samples:
    """Load a benchmark and draw a role's questions: the only step that may use the network."""
    input:
        sample_sources,
    output:
        PATHS.samples("{role}", "{benchmark}"),
    log:
        f"{LOGS}/samples/{{role}}/{{benchmark}}.log",
    localrule: True
    conda:
        "../environment.yml"
    params:
        config=samples_config,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk prepare-samples --config {params.config:q} {output:q} 2> {log:q}'
