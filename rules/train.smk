rule train_tiny:
    """Both embedded models as they ship: seed 0 of each family."""
    input:
        "outputs/trained/tiny-qwen2_5_vl-seed0",
        "outputs/trained/tiny-internvl-seed0",


rule train_model:
    """Train the embedded models anew (half an hour each). Not part of a run: the trained folders ship."""
    output:
        directory("outputs/trained/tiny-{family}-seed{seed}"),
    log:
        "outputs/trained/tiny-{family}-seed{seed}.log",
    wildcard_constraints:
        family="qwen2_5_vl|internvl",
        seed=r"\d+",
    conda:
        "../environment.yml"
    shell:
        "{HAWK} train-tiny --family {wildcards.family} --seed {wildcards.seed} {output} 2> {log}"
