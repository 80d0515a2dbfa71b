rule train_tiny:
    """The embedded model from nothing, about 50 minutes on one core. The trained folder ships."""
    input:
        "outputs/trained/seed0/tiny-qwen2.5-vl",


rule train_model:
    """One training seed of the embedded model."""
    output:
        directory("outputs/trained/seed{seed}/tiny-qwen2.5-vl"),
    log:
        "outputs/trained/seed{seed}/tiny-qwen2.5-vl.log",
    wildcard_constraints:
        seed=r"\d+",
    conda:
        "../environment.yml"
    shell:
        "{HAWK} train-tiny --family qwen2_5_vl --seed {wildcards.seed} {output} 2> {log}"
