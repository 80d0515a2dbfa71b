rule encode_images:
    """The vision tower once per distinct image; every later job reads its output."""
    input:
        PATHS.samples("{role}", "{benchmark}"),
    output:
        PATHS.features("{role}", "{benchmark}"),
    log:
        f"{LOGS}/features/{{role}}/{{benchmark}}.log",
    benchmark:
        f"{TIMES}/features/{{role}}/{{benchmark}}.jsonl"
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=RESOURCES.memory(4),
        runtime=RESOURCES.minutes(encode=True),
    params:
        model=MODEL,
        config=config_subset("encode_images"),
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk encode-images --config {params.config:q} {output:q} 2> {log:q}'
