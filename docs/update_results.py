"""Write results of finished runs into the documentation, so that no number there is typed.

README.md has those of ``make demo``; docs/models.md those of ``config/tiny_internvl.yaml``; docs/findings.md
those of both by kind of scene; docs/rivals.md those of config/rivals.yaml and docs/study.md those of
config/study/evaluation.yaml, by the commands on those pages. A page whose runs are not all there is left
alone.

make demo && .venv/bin/hawk warm .venv/bin/snakemake --cores 2 --configfile config/tiny_internvl.yaml
.venv/bin/python docs/update_results.py
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.config.load import load_config
from hawk.report.headline import Comparison, headline, sentences
from hawk.report.sections.verdict import paper_variants
from hawk.report.tables import hypotheses, read_controls, read_retention, text_table

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
        ratios = [one for one in settings["ratios"] if float(one) > 0]
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


# Which question → variant, and what it is compared with.
QUESTIONS = {
    "Weights of a head's own choice (`keep`) against uniform weights and the paper's": [
        ("keep", "uniform"),
        ("zero", "uniform"),
        ("keep-attention", "uniform-attention"),
        ("keep-layer1", "uniform-layer1"),
        ("dpp-keep", "dpp-uniform"),
        ("dpp-keep-layer1", "dpp-uniform-layer1"),
    ],
    "Attention in layer 1 against CDPruner": [("uniform-layer1", "cdpruner"), ("keep-layer1", "cdpruner")],
    "The weighted score as a relevance, against DivPrune and CDPruner": [
        ("dpp-keep", "divprune"),
        ("dpp-keep", "cdpruner"),
        ("dpp-keep-layer1", "divprune"),
        ("dpp-keep-layer1", "cdpruner"),
        ("dpp-uniform-layer1", "cdpruner"),
    ],
}
REFERENCES = list(dict.fromkeys(other for pairs in QUESTIONS.values() for _, other in pairs))
STUDY = {other: ROOT / "outputs" / f"study-vs-{other}" for other in REFERENCES}


def study() -> list[str]:
    """Both models together: retention by kind of scene, then the paired comparisons by question."""
    frame, settings = read_retention(str(STUDY["divprune"]))
    ratios = [one for one in settings["ratios"] if float(one) > 0]
    rows = frame[(frame["benchmark"] != OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])]
    busy = rows["benchmark"].str.endswith("_busy")
    means = rows.groupby(["variant", "pruning_ratio", busy])["retention"].mean()
    lines = [
        "Mean retention in percent over both models, on usual scenes (4 to 7 objects) and on busy ones "
        "(10 to 13), by pruning ratio:",
        "",
        f"| variant | {' | '.join(f'{kind}, {ratio}' for kind in ('usual', 'busy') for ratio in ratios)} |",
        "|---|" + "---|" * (2 * len(ratios)),
    ]
    for variant in sorted(rows["variant"].unique(), key=lambda one: -means[one, ratios[1], True]):
        cells = [f"{means[variant, ratio, kind]:.1f}" for kind in (False, True) for ratio in ratios]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    for question, pairs in QUESTIONS.items():
        lines += [
            "",
            f"{question}: difference in points, interval, Holm-adjusted p, over all eight benchmarks:",
            "",
        ]
        lines += [f"| variant | against | {' | '.join(ratios)} |", "|---|---|" + "---|" * len(ratios)]
        for variant, other in pairs:
            against = read_retention(str(STUDY[other]))[0].set_index(
                ["variant", "benchmark", "pruning_ratio"]
            )
            cells = [paired(against.loc[(variant, OVERALL, ratio)]) for ratio in ratios]
            lines.append(f"| {variant} | {other} | {' | '.join(cells)} |")
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
    ratios = [one for one in settings["ratios"] if float(one) > 0]
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
        (tuple(STUDY.values()), ROOT / "docs" / "study.md", study),
    ):
        if all((run / "tables" / "retention.parquet").exists() for run in runs):
            write(page, lines())
            found += 1
    if not found:
        raise SystemExit("There is no finished run under outputs/: make demo")


if __name__ == "__main__":
    main()
