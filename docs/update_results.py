"""Write results of finished runs into the documentation, so that no number there is typed.

README.md has those of ``make demo``; docs/models.md those of ``config/tiny_internvl.yaml``; docs/findings.md
those of both by kind of scene; docs/rivals.md those of config/rivals.yaml, docs/study.md and docs/seeds.md
those of config/study/evaluation.yaml, by the commands on those pages. A page whose runs are not all there is
left alone.

make demo && .venv/bin/hawk warm .venv/bin/snakemake --cores 2 --configfile config/tiny_internvl.yaml
.venv/bin/python docs/update_results.py
"""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.config.load import load_config
from hawk.report.headline import Comparison, headline, sentences
from hawk.report.sections.verdict import paper_variants
from hawk.report.tables import (
    hypotheses,
    hypotheses_about,
    read_controls,
    read_hypotheses,
    read_retention,
    text_table,
)

ROOT = Path(__file__).parent.parent
DEMO, INTERNVL = ROOT / "outputs" / "tiny", ROOT / "outputs" / "tiny-internvl"
BEGIN, END = "<!-- results: docs/update_results.py -->", "<!-- end of results -->"
PICTURES = ("heatmap-zero", "retention", "kept_tokens")


def verdict(run: Path, config: str) -> list[str]:
    """What the report's first lines say. config: the run's, which tells which variants are the paper's."""
    frame, settings = read_retention(str(run))
    compared = Comparison.of(frame, read_controls(str(run)), settings)
    paper = paper_variants(load_config(str(ROOT / "config" / config)))
    return [headline(compared).text, "", *(f"- {one.text}" for one in sentences(compared, paper))]


def demo() -> list[str]:
    frame, settings = read_retention(str(DEMO))
    for name in PICTURES:
        shutil.copyfile(DEMO / "figures" / f"{name}.png", ROOT / "docs" / "images" / f"{name}.png")
    return [
        "What the demo measures, on a 1.3-million-parameter Qwen2.5-VL trained by us on toy pictures "
        "(it says nothing about real models; regenerate with `make demo` and "
        "`.venv/bin/python docs/update_results.py`):",
        "",
        "```text",
        text_table(frame, "overall", settings),
        "```",
        "",
        *verdict(DEMO, "config.yaml"),
        "",
        f"![retention of every variant at every ratio](docs/images/{PICTURES[1]}.png)",
    ]


def internvl() -> list[str]:
    frame, settings = read_retention(str(INTERNVL))
    return [
        "What `snakemake --cores 2 --configfile config/tiny_internvl.yaml` measures on the embedded InternVL "
        "(a toy; it says nothing about real models):",
        "",
        "```text",
        text_table(frame, "overall", settings),
        "```",
        "",
        *verdict(INTERNVL, "tiny_internvl.yaml"),
    ]


def findings() -> list[str]:
    """Both families, by how full their scenes are."""
    return [
        "### Qwen2.5-VL's classes (`make demo`)",
        "",
        *few_and_many(DEMO, "config.yaml"),
        "",
        "### InternVL3's classes (`config/tiny_internvl.yaml`)",
        "",
        *few_and_many(INTERNVL, "tiny_internvl.yaml"),
    ]


# The embedded models' runs of config/rivals.yaml, by the heading of each.
RIVALS = {
    "Qwen2.5-VL's classes": ROOT / "outputs" / "rivals",
    "InternVL3's classes": ROOT / "outputs" / "rivals-internvl",
}


def rivals() -> list[str]:
    lines: list[str] = []
    for title, run in RIVALS.items():
        frame, settings = read_retention(str(run))
        ratios = ratios_of(settings)
        rows = frame[(frame["benchmark"] == OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])]
        overall = rows[rows["variant"] != settings["reference"]].set_index(["variant", "pruning_ratio"])
        order = overall.xs(ratios[-1], level="pruning_ratio")["difference"].sort_values(ascending=False).index
        lines += [
            f"## {title}",
            "",
            *few_and_many(run, "rivals.yaml"),
            "",
            f"Difference to {settings['reference']} over all five benchmarks, in points of retention, with "
            f"its interval and p (sign flips over images, Holm over {hypotheses(frame)}):",
            "",
            f"| variant | {' | '.join(ratios)} |",
            "|---|" + "---|" * len(ratios),
        ]
        for variant in order:
            cells = [paired(overall.loc[(variant, ratio)]) for ratio in ratios]
            lines.append(f"| {variant} | {' | '.join(cells)} |")
        lines.append("")
    return lines[:-1]


# The study over trainings: a run of config/study/evaluation.yaml per model, and their joint comparison.
STUDY = ROOT / "outputs" / "study"
FRESH = ("qwen-3", "internvl-2", "internvl-3")  # of the study's models, those that nobody had run before it
SHOWN = "0.9"  # variants are listed by what they retain at this pruning ratio
FAMILIES = {"qwen": "Qwen2.5-VL's classes", "internvl": "InternVL3's classes"}


def study_runs() -> dict[str, Path]:
    """The runs that were compared together, by title; seed 0 is the model that ships."""
    runs = {}
    for folder in read_retention(str(STUDY))[1]["runs"]:
        family, seed = Path(folder).name.removeprefix("study-").split("-")
        runs[f"{FAMILIES[family]}, seed {seed}{' (ships)' if seed == '0' else ''}"] = ROOT / folder
    return runs


def study() -> list[str]:
    """All models together: retention by kind of scene, then the declared hypotheses."""
    runs = study_runs()
    tests, settings = read_hypotheses(str(STUDY))  # type: ignore[misc]
    each = [read_hypotheses(str(run))[0] for run in runs.values()]  # type: ignore[index]
    fresh = [run.name.removeprefix("study-") in FRESH for run in runs.values()]
    samples, images = tests["samples"].max(), tests["groups"].max()
    lines = [
        f"{len(runs)} models: {'; '.join(runs)}. {samples} questions about {images} images a model.",
        "",
        f"Mean retention in percent over the {len(runs)} models, on usual scenes (4 to 7 objects) and on "
        "busy ones (10 to 13), by pruning ratio:",
        "",
        *by_scenes(STUDY),
        "",
        f"{hypotheses_about(tests.to_dict('records'), settings)} *models*: in how many of them the variant "
        "retains more, and the range of the difference over them. *fresh*: the mean difference over the "
        f"{sum(fresh)} models that had not been run before the hypotheses were written ({', '.join(FRESH)}).",
        "",
        "| variant | against | on | removed | difference | p (Holm) | verdict | models | fresh |",
        "|---|---|---|---:|---:|---:|---|---|---:|",
    ]
    for place, row in enumerate(tests.to_dict("records")):
        gaps = [frame["difference"].iloc[place] for frame in each]
        scenes = "busy" if all(name.endswith("_busy") for name in row["benchmarks"]) else "all"
        cells = [
            row["variant"],
            row["against"],
            scenes,
            row["pruning_ratio"],
            f"{row['difference']:+.1f} [{row['difference_low']:+.1f}, {row['difference_high']:+.1f}]",
            f"{row['p_adjusted']:.3f}",
            row["verdict"],
            f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}, {min(gaps):+.1f} to {max(gaps):+.1f}",
            f"{sum(gap for gap, new in zip(gaps, fresh, strict=True) if new) / sum(fresh):+.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def seeds() -> list[str]:
    """Each model of the study by itself: accuracy and stopping without pruning, then every variant."""
    lines: list[str] = []
    for title, run in study_runs().items():
        frame, settings = read_retention(str(run))
        whole = frame[(frame["variant"] == BASELINE) & (frame["benchmark"] != OVERALL)]
        accuracies = ", ".join(f"{row.benchmark} {row.native_value:.1f}" for row in whole.itertuples())
        rows = frame[(frame["benchmark"] == OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])]
        overall = rows.set_index(["variant", "pruning_ratio"])
        reference, ratios = settings["reference"], ratios_of(settings)
        lines += [
            f"## {title}",
            "",
            f"{whole['samples'].sum()} questions. Unpruned, percent right: {accuracies}; at most "
            f"{whole['not_stopped'].max():.1f} % of the answers to a benchmark do not stop. Pruned, over all "
            f"benchmarks: at most {rows['not_stopped'].max():.1f} %.",
            "",
            "From the model's card: accuracy with all tokens and with parts of them, in brackets the share "
            "of answers that do not stop; 600 test questions a benchmark.",
            "",
            *card_table(ROOT / settings["model"]["id"]),
            "",
            "Mean retention in percent on usual scenes and on busy ones:",
            "",
            *by_scenes(run),
            "",
            f"Difference to {reference} over all benchmarks, in points, with its interval and p (sign "
            f"flips over images, Holm over {hypotheses(frame)}):",
            "",
            f"| variant | {' | '.join(ratios)} |",
            "|---|" + "---|" * len(ratios),
        ]
        order = overall.xs(SHOWN, level="pruning_ratio")["difference"].sort_values(ascending=False).index
        for variant in order:
            if variant != reference:
                cells = [paired(overall.loc[(variant, ratio)]) for ratio in ratios]
                lines.append(f"| {variant} | {' | '.join(cells)} |")
        lines.append("")
    return lines[:-1]


def card_table(folder: Path) -> list[str]:
    """Accuracies of a trained model, from its card."""
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("| benchmark | all tokens |"))
    return list(itertools.takewhile(lambda line: line.startswith("|"), lines[start:]))


def ratios_of(settings: Any) -> list[str]:
    return [one for one in settings["ratios"] if float(one) > 0]


def by_scenes(run: Path) -> list[str]:
    """Mean retention of every variant on usual scenes and on busy ones, best first."""
    frame, settings = read_retention(str(run))
    ratios = ratios_of(settings)
    rows = frame[(frame["benchmark"] != OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])]
    busy = rows["benchmark"].str.endswith("_busy")
    means = rows.groupby(["variant", "pruning_ratio", busy])["retention"].mean()
    lines = [
        f"| variant | {' | '.join(f'{kind}, {ratio}' for kind in ('usual', 'busy') for ratio in ratios)} |",
        "|---|" + "---|" * (2 * len(ratios)),
    ]
    for variant in sorted(rows["variant"].unique(), key=lambda one: -means[one, SHOWN, True]):
        cells = [f"{means[variant, ratio, kind]:.1f}" for kind in (False, True) for ratio in ratios]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def paired(row: Any) -> str:
    low, high = row["difference_low"], row["difference_high"]
    return (
        f"{row['difference']:+.1f} [{low:+.1f}, {high:+.1f}], {row['p_adjusted']:.3f} {row['verdict'] or '—'}"
    )


def few_and_many(run: Path, config: str) -> list[str]:
    frame, settings = read_retention(str(run))
    names = [one for one in frame["benchmark"].unique() if one != OVERALL]
    many = [one for one in names if one.endswith("_busy")]
    few = [one for one in names if one not in many]
    ratios = ratios_of(settings)
    rows = frame[~frame["variant"].isin([BASELINE, MAJORITY])]
    means = [
        rows[rows["benchmark"].isin(group)].groupby(["variant", "pruning_ratio"])["retention"].mean()
        for group in (few, many)
    ]
    titles = [f"{word}, {ratio}" for word in ("few", "many") for ratio in ratios]
    lines = [
        *verdict(run, config),
        "",
        f"Mean retention in percent on scenes with few objects ({', '.join(few)}) and with many "
        f"({', '.join(many)}), by pruning ratio:",
        "",
        f"| variant | {' | '.join(titles)} |",
        "|---|" + "---|" * len(titles),
    ]
    for variant in sorted(rows["variant"].unique(), key=lambda one: -means[1][one, ratios[-1]]):
        cells = [f"{mean[variant, ratio]:.1f}" for mean in means for ratio in ratios]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def write(page: Path, lines: list[str]) -> None:
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page}: no block between {BEGIN!r} and {END!r}.")
    block = "\n".join([BEGIN, "", *lines, "", END])
    page.write_text(pattern.sub(lambda _: block, text), encoding="utf-8")


def main() -> None:
    (ROOT / "docs" / "images").mkdir(parents=True, exist_ok=True)
    found = 0
    for runs, page, lines in (
        ((DEMO,), ROOT / "README.md", demo),
        ((INTERNVL,), ROOT / "docs" / "models.md", internvl),
        ((DEMO, INTERNVL), ROOT / "docs" / "findings.md", findings),
        (tuple(RIVALS.values()), ROOT / "docs" / "rivals.md", rivals),
        ((STUDY,), ROOT / "docs" / "study.md", study),
        ((STUDY,), ROOT / "docs" / "seeds.md", seeds),
    ):
        if all((run / "tables" / "retention.parquet").exists() for run in runs):
            write(page, lines())
            found += 1
    if not found:
        raise SystemExit("There is no finished run under outputs/: make demo")


if __name__ == "__main__":
    main()
