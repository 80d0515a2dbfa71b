"""How many pruned answers only go on too long: into docs/findings.md, from finished runs.

make demo && snakemake --cores 2 --configfile config/tiny_internvl.yaml
.venv/bin/python docs/first_words.py
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "findings.md"
RUNS = {"tiny-qwen2.5-vl": "tiny", "tiny-internvl3": "tiny-internvl"}
VARIANTS = ("baseline", "hawk-uniform", "hawk-zero", "hawk-selection", "grid", "random", "divprune")
BEGIN, END = "<!-- first words: docs/first_words.py -->", "<!-- end of first words -->"


def answers(run: Path, variant: str) -> pd.DataFrame:
    """Every evaluated answer of a variant, with the score and whether its first word is a reference."""
    parts = []
    for path in sorted((run / "samples" / "evaluation").glob("*.parquet")):
        name = path.stem
        found = run / "evaluation" / name / f"{variant}.parquet"
        if variant == "baseline":
            found = run / "scores" / name / "baseline" / "evaluation.parquet"
        frame = pd.read_parquet(found)
        frame["pruning_ratio"] = "0" if variant == "baseline" else frame["pruning_ratio"]
        parts.append(frame.merge(pd.read_parquet(path)[["sample_id", "references"]], on="sample_id"))
    frame = pd.concat(parts)
    first = frame["prediction"].str.split().str[:1].str.join("")
    begins = [word in set(right) for word, right in zip(first, frame["references"], strict=True)]
    return frame.assign(begins=begins)


def table(run: Path) -> list[str]:
    lines = ["| variant | removed | right, % | first word right, % |", "|---|---|---:|---:|"]
    for variant in VARIANTS:
        by_ratio = answers(run, variant).groupby("pruning_ratio")[["score", "begins"]].mean()
        for ratio, row in by_ratio.iterrows():
            lines.append(f"| {variant} | {ratio} | {100 * row['score']:.1f} | {100 * row['begins']:.1f} |")
    return lines


def main() -> None:
    block = [BEGIN]
    for model, run in RUNS.items():
        block += ["", f"### {model}", "", *table(ROOT / "outputs" / run)]
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{PAGE}: no block between {BEGIN!r} and {END!r}.")
    PAGE.write_text(pattern.sub(lambda _: "\n".join([*block, "", END]), text), encoding="utf-8")


if __name__ == "__main__":
    main()
