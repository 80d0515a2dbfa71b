"""Write results of finished runs into the documentation, so that no number there is typed.

README.md has those of ``make demo``; docs/models.md those of ``config/tiny_internvl.yaml``; docs/findings.md
those of both by kind of scene. A page whose runs are not all there is left alone.

make demo && .venv/bin/hawk warm .venv/bin/snakemake --cores 2 --configfile config/tiny_internvl.yaml
.venv/bin/python docs/update_results.py
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hawk.analysis.comparison import BASELINE, MAJORITY, OVERALL
from hawk.config.load import load_config
from hawk.report.headline import Comparison, headline, sentences
from hawk.report.sections.verdict import paper_variants
from hawk.report.tables import read_controls, read_retention, text_table

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
    ):
        if all((run / "tables" / "retention.parquet").exists() for run in runs):
            write(page, lines())
            found += 1
    if not found:
        raise SystemExit("There is no finished run under outputs/: make demo")


if __name__ == "__main__":
    main()
