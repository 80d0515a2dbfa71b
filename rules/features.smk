rule encode_images:
    """The vision tower once per distinct image; every later job reads its output."""
    input:
        PATHS.samples("{role}", "{benchmark}"),
    output:
        PATHS.features("{role}", "{benchmark}", "{view}"),
    log:
        f"{LOGS}/features/{{role}}/{{benchmark}}/{{view}}.log",
    benchmark:
        f"{TIMES}/features/{{role}}/{{benchmark}}/{{view}}.jsonl"
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory(4),
        runtime=minutes(encode=True),
    params:
        config=part("model", "preprocessing"),
    shell:
        "{HAWK} encode-images --config {params.config:q} {output} 2> {log}"
