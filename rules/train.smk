# The embedded models from nothing. The trained folder of seed 0 ships under data/models.
TRAINED = "outputs/trained/seed{seed}"


rule train_tiny:
    """The embedded default model, about an hour on one core."""
    input:
        expand(f"{TRAINED}/tiny-qwen2.5-vl", seed=0),


rule train_model:
    """One training seed of the embedded Qwen2.5-VL."""
    output:
        directory(f"{TRAINED}/tiny-qwen2.5-vl"),
    log:
        f"{TRAINED}/tiny-qwen2.5-vl.log",
    wildcard_constraints:
        seed=r"\d+",
    conda:
        "../environment.yml"
    resources:
        runtime=lambda wildcards, attempt: 180 * attempt,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk train-tiny --family qwen2_5_vl --seed {wildcards.seed} {output:q} 2> {log:q}'


rule train_sibling:
    """The embedded InternVL: its own vision tower, and the language model of the same seed."""
    input:
        f"{TRAINED}/tiny-qwen2.5-vl",
    output:
        directory(f"{TRAINED}/tiny-internvl3"),
    log:
        f"{TRAINED}/tiny-internvl3.log",
    wildcard_constraints:
        seed=r"\d+",
    conda:
        "../environment.yml"
    resources:
        runtime=lambda wildcards, attempt: 180 * attempt,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk train-tiny --family internvl --seed {wildcards.seed} {output:q} 2> {log:q}'
