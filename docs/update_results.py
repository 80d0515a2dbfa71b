"""Write results of finished runs into the documentation, so that no number there is typed.

README.md has those of ``make demo``; docs/models.md those of ``config/tiny_internvl.yaml``. A run that is not
there leaves its page alone.

make demo && .venv/bin/hawk warm .venv/bin/snakemake --cores 2 --configfile config/tiny_internvl.yaml
.venv/bin/python docs/update_results.py
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hawk.report.tables import read_retention, text_table

ROOT = Path(__file__).parent.parent
DEMO, INTERNVL = ROOT / "outputs" / "tiny", ROOT / "outputs" / "tiny-internvl"
BEGIN, END = "<!-- results: docs/update_results.py -->", "<!-- end of results -->"
PICTURES = ("heatmap-zero", "retention", "kept_tokens")


def verdicts(run: Path) -> list[str]:
    """One sentence per variant: what the rule says at each ratio, with the interval."""
    frame, settings = read_retention(str(run))
    lines = []
    for variant in ("hawk-zero", "hawk-selection", "divprune", "random"):
        rows = frame[(frame["benchmark"] == "overall") & (frame["variant"] == variant)]
        parts = []
        for row in rows.sort_values("pruning_ratio").to_dict("records"):
            word = {"better": "**better**", "worse": "**worse**"}.get(
                row["verdict"], "no significant difference"
            )
            parts.append(
                f"{row['pruning_ratio']}: {row['difference']:+.1f} "
                f"[{row['difference_low']:+.1f}, {row['difference_high']:+.1f}] ({word})"
            )
        lines.append(f"- `{variant}` against `{settings['reference']}`: {'; '.join(parts)}")
    return lines


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
        *verdicts(INTERNVL),
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
    ):
        if all((run / "tables" / "retention.parquet").exists() for run in runs):
            write(page, lines())
            found += 1
    if not found:
        raise SystemExit("There is no finished run under outputs/: make demo")


if __name__ == "__main__":
    main()
