"""Every method on both embedded models (docs/rivals.md): the runs of config/rivals.yaml."""

from __future__ import annotations

from pathlib import Path

from results_tables import ROOT, few_and_many, paired, ratios_of

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.analysis.screening import RANKS, rank_correlations
from hawk.core import files, schemas
from hawk.core.paths import RunPaths
from hawk.report.tables import hypotheses, read_retention

# The embedded models' runs, by the heading of each.
RIVALS = {
    "Qwen2.5-VL's classes": ROOT / "outputs" / "rivals",
    "InternVL3's classes": ROOT / "outputs" / "rivals-internvl",
}
MEASURED, ESTIMATED = "zero", "screen"  # ablations of config/rivals.yaml


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
        lines += ["", *screening(run), ""]
    return lines[:-1]


def screening(run: Path) -> list[str]:
    """How well gradients rank the heads that were switched off as well, by layer."""
    tables = [
        files.read_table(path, schemas.DROPS, {"table": "drops", "ablation": name}).to_pandas()
        for name in (MEASURED, ESTIMATED)
        for path in [RunPaths(str(run)).drops(name)]
    ]
    lines = [
        f"Heads as gradients rank them (`{ESTIMATED}`), against what switching each off costs in margin "
        f"(`{MEASURED}`), means over the five benchmarks; Spearman's rank correlation:",
        "",
        f"| layer | heads | {' | '.join(f'by {words}' for words in RANKS.values())} |",
        "|---|---:|---:|---:|",
    ]
    for row in rank_correlations(*tables):
        layer = "all" if row["layer"] is None else row["layer"]
        lines.append(f"| {layer} | {row['heads']} | {' | '.join(f'{row[key]:+.2f}' for key in RANKS)} |")
    return lines
