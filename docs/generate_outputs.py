"""Write docs/outputs.md: every file of a run and every column, from the schemas and paths in hawk.

python docs/generate_outputs.py            # write the page
python docs/generate_outputs.py --check    # fail where it is not what the schemas say
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from hawk.analysis import comparison, controls, cost, hypotheses, stability
from hawk.core import schemas
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.report.figures import FIGURES

PAGE = Path(__file__).parent / "outputs.md"
PATHS = RunPaths("outputs/<run>")

INTRODUCTION = """\
# Outputs

<!-- Written by docs/generate_outputs.py from the schemas in hawk; do not edit by hand. -->

Everything a run makes lies under `outputs/<run>/`. Tables are parquet; each carries its provenance as JSON
under the metadata key `hawk`: the settings that made it, the versions, the model, the data. `hawk show FILE`
prints any of them. "Empty" means null.
"""

NOTES = """\
## Logs and times

`logs/` has one file per job, which ends in its result or the reason why it failed. `benchmarks/` has the time
and memory of every GPU job as Snakemake measures them.
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a run: its path, one row per what, and its schema."""

    title: str
    path: str
    row: str
    about: str
    schema: pa.Schema
    extra: str = ""  # another form in which it is written
    meanings: Mapping[str, str] = dataclasses.field(kw_only=True)  # what its columns hold


TABLES = [
    Table(
        "Samples",
        PATHS.samples("<role>", "<benchmark>"),
        "question",
        "The questions that were drawn, with their images. "
        "`<role>` is `calibration`, `development` or `evaluation`.",
        schemas.SAMPLES,
        meanings=schemas.SAMPLES_MEANINGS,
    ),
    Table(
        "Scores",
        PATHS.scores("<benchmark>", "<ablation>", "<head>"),
        "question",
        "The model's answers under one head's ablation, a recipe of `ablation.recipes`. "
        "`reference` in place of the head is the run that "
        "drops are measured against, `repeat1` the same with other batches, which gives the noise floor; "
        f"`{PATHS.baseline('<benchmark>', '<role>')}` is the unpruned model.",
        schemas.SCORES,
        meanings=schemas.SCORES_MEANINGS,
    ),
    Table(
        "Drops",
        PATHS.drops("<ablation>"),
        "benchmark and head",
        "What every head is worth.",
        schemas.DROPS,
        meanings=schemas.DROPS_MEANINGS,
    ),
    Table(
        "Head gradients",
        PATHS.head_gradients("<ablation>", "<benchmark>"),
        "question",
        "What switching off every head would do to the margin, estimated for an ablation by `gradient`.",
        schemas.HEAD_GRADIENTS,
        meanings=schemas.HEAD_GRADIENTS_MEANINGS,
    ),
    Table(
        "Evaluation",
        PATHS.evaluation("<benchmark>", "<variant>"),
        "question, ratio and seed",
        "The pruned model's answers.",
        schemas.EVALUATION,
        meanings=schemas.EVALUATION_MEANINGS,
    ),
    Table(
        "Retention",
        PATHS.table("retention", "parquet"),
        "variant, ratio and benchmark (and `overall`)",
        "The comparison.",
        comparison.RETENTION,
        "Also as `.csv` with the same columns, and as `.md` with the most important ones.",
        meanings=comparison.RETENTION_MEANINGS,
    ),
    Table(
        "Controls",
        PATHS.table("controls", "parquet"),
        "calibrated variant, control and ratio",
        "How far calibrated weights are ahead of every control.",
        controls.CONTROLS,
        "Also as `.csv`.",
        meanings=controls.CONTROLS_MEANINGS,
    ),
    Table(
        "Hypotheses",
        PATHS.table("hypotheses", "parquet"),
        "hypothesis of `evaluation.hypotheses` and ratio",
        "The comparisons that the config declares, tested as one family. Only if it declares any.",
        hypotheses.HYPOTHESES,
        "Also as `.csv` and `.md`.",
        meanings=hypotheses.HYPOTHESES_MEANINGS,
    ),
    Table(
        "Cost",
        PATHS.cost(),
        "variant, ratio and repeat",
        "Measured time and memory; only where `cost.measure` is true, or after the target `cost`.",
        schemas.COST,
        meanings=schemas.COST_MEANINGS,
    ),
    Table(
        "Cost summary",
        PATHS.table("cost", "csv"),
        "variant and ratio",
        "Medians of the measured cost over repeats, and speed-ups against the unpruned model.",
        cost.COST_TABLE,
        "Also as `.md` with the most important ones.",
        meanings=cost.COST_MEANINGS,
    ),
]


# Keys of a head-weights file. ``geometry`` is stored within ``model``.
WEIGHT_KEYS = {
    "weights": "One number per query head of the layer; their absolute values sum to 1. "
    "Negative only by a `signed` recipe.",
    "geometry": "Within `model`: `layers`, `heads`, `kv_heads`, `head_dim`; the model's must be the same.",
    "layer": "The layer whose heads score tokens.",
    "model": "`id`, `revision` and `family` of the model that was measured.",
    "weight_normalization": "How drops became weights, such as `min_shift`.",
    "intervention": "What was done to a head: `zero`, `mean`, `selection`, `keep_only` or `gradient`.",
    "token_score": "The token score that the weights were made for: `normalization`, `reduction`, `rope`, "
    "`query_span`.",
    "per_benchmark": "The weights that each benchmark alone would give.",
    "samples": "Number of questions per benchmark.",
    "calibration_groups": "Hash of the set of images that were used.",
    "provenance": "Settings and versions that made the file. Where the layer was chosen, `settings.layers` "
    "has every candidate's ablation, layer, value on each benchmark (`values`) and mean share of the best "
    "(`score`).",
    "mean_query": "Only in format 2, by a recipe with `query: calibrated`: per head the mean query of the "
    "calibration questions (`head_dim` numbers, before rotary positions).",
}


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION, "## All files", "", *_files(), ""]
    for table in TABLES:
        lines += [
            f"## {table.title}",
            "",
            f"`{_below(table.path)}`: one row per {table.row}. {table.about} {table.extra}".strip(),
            "",
        ]
        lines += ["| column | type | what it holds |", "|---|---|---|"]
        for field in table.schema:
            lines.append(f"| `{field.name}` | {_type(field.type)} | {table.meanings[field.name]} |")
        lines.append("")
    lines += [*_weights(), "", *_stability(), "", *_figures(), "", NOTES.rstrip()]
    return "\n".join(lines) + "\n"


def _files() -> Iterator[str]:
    yield "| file | what it is |"
    yield "|---|---|"
    for table in TABLES:
        first = table.about.split(". ")[0].rstrip(".")
        yield f"| [`{_below(table.path)}`](#{table.title.lower().replace(' ', '-')}) | {first}. |"
    for path, about in (
        (
            PATHS.features("<role>", "<benchmark>"),
            "What the vision tower makes of every image (`features: stored`).",
        ),
        (PATHS.head_means("<benchmark>"), "The average input of every head, for the intervention `mean`."),
        (
            PATHS.mean_queries("<recipe>", "<benchmark>"),
            "What the calibration questions ask on average, for weights recipes with `query: calibrated`.",
        ),
        (
            PATHS.head_weights("<recipe>", "pooled"),
            "[Head weights](#head-weights), by a recipe of `weights.recipes`, from all benchmarks together.",
        ),
        (
            PATHS.head_weights("<recipe>", "without-<family>"),
            "The same without the benchmarks of one family.",
        ),
        (PATHS.stability("<ablation>"), "[How far drops and weights can be trusted](#stability)."),
        (PATHS.figure("<name>"), "[Figures](#figures), each also as PNG."),
        (PATHS.head_scores(), "Example images with the token score of every head, for the report."),
        (PATHS.report(), "The report: one file that opens without a network."),
    ):
        yield f"| `{_below(path)}` | {about} |"


def _weights() -> Iterator[str]:
    yield "## Head weights"
    yield ""
    path = _below(PATHS.head_weights("<recipe>", "pooled"))
    yield f"`{path}` is JSON, read by `hawk.HeadWeights.load`. `format` is the version of its layout."
    yield ""
    yield "| key | what it holds |"
    yield "|---|---|"
    for field in dataclasses.fields(HeadWeights):
        yield f"| `{field.name}` | {WEIGHT_KEYS[field.name]} |"


def _stability() -> Iterator[str]:
    yield "## Stability"
    yield ""
    path = _below(PATHS.stability("<ablation>"))
    yield f"`{path}` says how far drops and weights can be trusted. Its words:"
    yield ""
    yield "| key | what it holds |"
    yield "|---|---|"
    for key, meaning in stability.KEYS.items():
        yield f"| `{key}` | {_sentence(meaning)} |"


def _figures() -> Iterator[str]:
    yield "## Figures"
    yield ""
    yield "| figure | what it shows |"
    yield "|---|---|"
    for figure in FIGURES:
        name = figure.name.replace("{", "<").replace("}", ">")
        yield f"| `figures/{name}.svg` | {_sentence(_plain(figure.alt))} |"


def _type(kind: pa.DataType) -> str:
    """A type in words."""
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "file"
    if pa.types.is_integer(kind):
        return "whole number"
    words = {
        "string": "text",
        "large_string": "text",
        "double": "number",
        "bool": "true or false",
        "binary": "bytes",
    }
    return words[str(kind)]


def _below(path: str) -> str:
    return path.removeprefix(f"{PATHS.root}/")


def _plain(text: str) -> str:
    return text.replace("{recipe}", "a recipe").replace("{ablation}", "an ablation")


def _sentence(text: str) -> str:
    if text[1].isalpha():  # "p >= 0.05" begins with a symbol
        text = text[0].upper() + text[1:]
    return (text if text.endswith(".") else f"{text}.").replace("|", "\\|")


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(f"{PAGE} is not what the schemas say: python docs/generate_outputs.py", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
