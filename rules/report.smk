"""What people look at: tables, figures, the report. None of it is needed by a later step."""

TABLES = [PATHS.table("retention", ending) for ending in ("parquet", "csv", "md")]
TABLES += [PATHS.table("controls", ending) for ending in ("parquet", "csv")]
if config["evaluation"]["hypotheses"]:
    TABLES += [PATHS.table("hypotheses", ending) for ending in ("parquet", "csv", "md")]
COST_TABLES = [PATHS.table("cost", ending) for ending in ("csv", "md")]
RUN_PICTURES = list(pictures(RUN_PARTS, MEASURED))
USED = queries.with_variants(config, VARIANTS)  # without weights that no variant uses
FIGURES = [PATHS.figure(picture.name) for picture in RUN_PICTURES]
# Where Snakemake's own report shows the figures of each section of the page.
CATEGORIES = {
    "heads": "Heads",
    "weights": "Heads",
    "retention": "Comparison",
    "tokens": "Comparison",
    "cost": "Cost",
}


rule make_tables:
    """Native values, retention, paired differences and their tests, per variant, ratio, benchmark."""
    input:
        EVALUATION_FILES,
        [PATHS.samples(EVALUATION_ROLE, name) for name in EVALUATION],
    output:
        report(
            TABLES,
            category="Comparison",
            caption="report/tables.rst",
            labels={"what": "retention table"},
        ),
    log:
        f"{LOGS}/make_tables.log",
    conda:
        "../environment.yml"
    params:
        config=queries.config_subset(USED, *step_reads("make_tables")),
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk make-tables --config {params.config:q} --run-dir {params.run:q} 2> {log:q}'


rule make_cost_table:
    """Measured cost as in the paper: latency, KV cache, memory; and where the time goes."""
    input:
        PATHS.cost(),
    output:
        report(
            COST_TABLES,
            category="Cost",
            caption="report/cost.rst",
            labels={"what": "cost table"},
        ),
    log:
        f"{LOGS}/make_cost_table.log",
    conda:
        "../environment.yml"
    params:
        config=config_subset("make_cost_table"),
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk make-cost-table --config {params.config:q} --run-dir {params.run:q} 2> {log:q}'


# A named target: measured once, cost is in the report of every later run.
rule cost:
    input:
        PATHS.cost(),
        COST_TABLES,


rule make_figures:
    """Heatmaps of drops, head weights beside their null, stability, retention against ratio and speed-up."""
    input:
        [PATHS.drops(name) for name in ABLATIONS],
        [PATHS.stability(name) for name in ABLATIONS],
        TABLES,
        [PATHS.head_weights(name) for name in queries.own_weights(config)],
        PATHS.cost() if COST else [],
    output:
        [
            report(
                with_png(PATHS.figure(picture.name)),
                category=CATEGORIES[picture.figure.section],
                caption=f"report/{picture.figure.section}.rst",
                labels={"what": picture.name},
            )
            for picture in RUN_PICTURES
            if picture.figure.step == "make_figures"
        ],
    log:
        f"{LOGS}/make_figures.log",
    conda:
        "../environment.yml"
    params:
        config=config_subset("make_figures"),
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk make-figures --config {params.config:q} --run-dir {params.run:q} 2> {log:q}'


rule kept_tokens:
    """A few images with the tokens that every variant keeps."""
    input:
        EVALUATION_FILES,
        [feature_file(EVALUATION_ROLE, name) for name in EVALUATION[:4]],
        [
            PATHS.head_weights(*pair)
            for pair in WEIGHT_FILES
            if pair[0] in queries.own_weights(USED)
        ],
    output:
        report(
            with_png(PATHS.figure("kept_tokens")),
            category="Comparison",
            caption="report/tokens.rst",
            labels={"what": "kept tokens"},
        ),
        PATHS.head_scores(),
    log:
        f"{LOGS}/kept_tokens.log",
    conda:
        "../environment.yml"
    threads: config["model"]["threads"]
    resources:
        gpu=1,
        mem_mb=RESOURCES.memory(RESOURCES.scoring),
    params:
        model=MODEL,
        config=queries.config_subset(USED, *step_reads("kept_tokens")),
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk kept-tokens --config {params.config:q} --run-dir {params.run:q} 2> {log:q}'


rule make_report:
    """report.html: one file that opens offline."""
    input:
        FIGURES,
        TABLES,
        [PATHS.drops(name) for name in ABLATIONS],
        PATHS.cost() if COST else [],
    output:
        report(
            PATHS.report(),
            category="Report",
            caption="report/workflow.rst",
            labels={"what": "interactive report"},
        ),
    log:
        f"{LOGS}/make_report.log",
    conda:
        "../environment.yml"
    params:
        config=config_subset("make_report"),
        run=run_dir,
    shell:
        '"${{HAWK_PYTHON:-python}}" -m hawk make-report --config {params.config:q} --run-dir {params.run:q} 2> {log:q}'
