"""Write results of finished runs into the documentation, so that no number there is typed.

README.md has those of ``make demo``; docs/models.md those of ``config/tiny_internvl.yaml``; docs/findings.md
those of both by kind of scene; docs/rivals.md those of config/rivals.yaml, docs/study.md and docs/seeds.md
those of config/study/evaluation.yaml, reductions.yaml and layers.yaml, by the commands on those pages. A page
whose runs are not all there is left alone.

make demo && .venv/bin/hawk warm .venv/bin/snakemake --cores 2 --configfile config/tiny_internvl.yaml
.venv/bin/python docs/update_results.py
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from results_rivals import RIVALS, rivals
from results_study import LAYERS, REDUCTIONS, STUDY, seeds, study
from results_tables import ROOT, few_and_many, verdict

from hawk.report.tables import read_retention, text_table

DEMO, INTERNVL = ROOT / "outputs" / "tiny", ROOT / "outputs" / "tiny-internvl"
BEGIN, END = "<!-- results: docs/update_results.py -->", "<!-- end of results -->"
PICTURES = ("heatmap-zero", "retention", "kept_tokens")


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
        ((STUDY, REDUCTIONS, *LAYERS.values()), ROOT / "docs" / "study.md", study),
        ((STUDY,), ROOT / "docs" / "seeds.md", seeds),
    ):
        if all((run / "tables" / "retention.parquet").exists() for run in runs):
            write(page, lines())
            found += 1
    if not found:
        raise SystemExit("There is no finished run under outputs/: make demo")


if __name__ == "__main__":
    main()
