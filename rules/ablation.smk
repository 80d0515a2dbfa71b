"""Calibration scores: one command for reference, repeats and heads, so that they cannot drift apart."""


rule head_means:
    """Mean input of every head's o_proj slice: what the intervention mean puts in."""
    input:
        PATHS.samples("calibration", "{benchmark}"),
        feature_file("calibration"),
    output:
        PATHS.head_means("{benchmark}"),
    log:
        f"{LOGS}/scores/{{benchmark}}/head_means.log",
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=RESOURCES.memory(RESOURCES.scoring),
        runtime=RESOURCES.minutes(),
    params:
        model=MODEL,
        config=benchmark_config("head_means"),
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk head-means --config {params.config:q} {output:q} 2> {log:q}'


rule screen_heads:
    """What switching off each head would do to the margin, estimated for all of them at once."""
    input:
        PATHS.samples("calibration", "{benchmark}"),
        feature_file("calibration"),
    output:
        PATHS.head_gradients("{ablation}", "{benchmark}"),
    log:
        f"{LOGS}/head_gradients/{{ablation}}/{{benchmark}}.log",
    benchmark:
        f"{TIMES}/head_gradients/{{ablation}}/{{benchmark}}.jsonl"
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=RESOURCES.memory(RESOURCES.scoring),
        runtime=RESOURCES.minutes(3),
    params:
        model=MODEL,
        config=screen_config,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk screen-heads --config {params.config:q} {output:q} 2> {log:q}'


rule score_reference:
    """What an ablation's drops are measured against."""
    input:
        SCORE_INPUTS,
    output:
        PATHS.scores("{benchmark}", "{ablation}", "reference"),
    log:
        f"{LOGS}/scores/{{benchmark}}/{{ablation}}/reference.log",
    benchmark:
        f"{TIMES}/scores/{{benchmark}}/{{ablation}}/reference.jsonl"
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=RESOURCES.memory(RESOURCES.scoring),
        runtime=RESOURCES.minutes(),
    params:
        model=MODEL,
        config=score_config,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk score-samples --config {params.config:q} {output:q} 2> {log:q}'


use rule score_reference as repeat_reference with:
    # The reference again with other batches: its flips are the noise floor.
    output:
        PATHS.scores("{benchmark}", "{ablation}", "{repeat}"),
    log:
        f"{LOGS}/scores/{{benchmark}}/{{ablation}}/{{repeat}}.log",
    benchmark:
        f"{TIMES}/scores/{{benchmark}}/{{ablation}}/{{repeat}}.jsonl"


# Every head is a job of its own, told by its output's name.
if not HEAD_GROUPS:

    use rule score_reference as ablate_head with:
        output:
            PATHS.scores("{benchmark}", "{ablation}", "{head}"),
        log:
            f"{LOGS}/scores/{{benchmark}}/{{ablation}}/{{head}}.log",
        benchmark:
            f"{TIMES}/scores/{{benchmark}}/{{ablation}}/{{head}}.jsonl"


# One rule per group of heads (ablation.heads_per_job), for the ablations that have such a group. The heads stand
# in the outputs and not in the params, so regrouping them re-runs nothing. `use rule` cannot name rules in a loop.
for number, (group, names) in enumerate(HEAD_GROUPS.items()):

    rule:
        name:
            f"ablate_heads_{number}"
        input:
            SCORE_INPUTS,
        output:
            [PATHS.scores("{benchmark}", "{ablation}", head) for head in group],
        log:
            f"{LOGS}/scores/{{benchmark}}/{{ablation}}/{group[0]}-{group[-1]}.log",
        benchmark:
            f"{TIMES}/scores/{{benchmark}}/{{ablation}}/{group[0]}.jsonl"
        wildcard_constraints:
            ablation="|".join(map(re.escape, names)),
        conda:
            "../environment.yml"
        threads: config["model"]["threads"]
        resources:
            gpu=1,
            mem_mb=RESOURCES.memory(RESOURCES.scoring),
            runtime=RESOURCES.minutes(len(group)),
        params:
            model=MODEL,
            config=score_config,
        shell:
            '"${{HAWK_PYTHON:-python}}" -m hawk score-samples --config {params.config:q} {output:q} 2> {log:q}'

    same_overrides(f"ablate_heads_{number}", "ablate_head")
