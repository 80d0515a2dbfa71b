# The embedded models from nothing; those of seed 0 ship under data/models.
TRAINED = "outputs/trained/seed{seed}"
FAMILIES = {"tiny-qwen2.5-vl": "qwen2_5_vl", "tiny-internvl3": "internvl"}


rule train_tiny:
    """An embedded model of one training seed, about an hour on one core."""
    input:
        # InternVL: its own vision tower, and the language model of the Qwen2.5-VL of the same seed.
        branch(
            evaluate("{model} == 'tiny-internvl3'"),
            then=f"{TRAINED}/tiny-qwen2.5-vl",
        ),
    output:
        directory(f"{TRAINED}/{{model}}"),
    log:
        f"{TRAINED}/{{model}}.log",
    wildcard_constraints:
        seed=r"\d+",
        model="|".join(map(re.escape, FAMILIES)),
    conda:
        "../environment.yml"
    resources:
        runtime=lambda wildcards, attempt: 180 * attempt,
    params:
        family=lambda wildcards: FAMILIES[wildcards.model],
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk train-tiny --family {params.family:q} --seed {wildcards.seed} {output:q} 2> {log:q}'
