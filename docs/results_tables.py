"""What pages of results are made of: verdicts and tables of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.config.load import load_config
from hawk.report.headline import Comparison, headline, sentences
from hawk.report.sections.verdict import paper_variants
from hawk.report.tables import read_controls, read_retention

ROOT = Path(__file__).parent.parent
SHOWN = "0.9"  # variants are listed by what they retain at this pruning ratio


def verdict(run: Path, config: str) -> list[str]:
    """What the report's first lines say. config: the run's, which tells which variants are the paper's."""
    frame, settings = read_retention(str(run))
    compared = Comparison.of(frame, read_controls(str(run)), settings)
    paper = paper_variants(load_config(str(ROOT / "config" / config)))
    return [headline(compared).text, "", *(f"- {one.text}" for one in sentences(compared, paper))]


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


def paired(row: Any) -> str:
    low, high = row["difference_low"], row["difference_high"]
    return (
        f"{row['difference']:+.1f} [{low:+.1f}, {high:+.1f}], {row['p_adjusted']:.3f} {row['verdict'] or '—'}"
    )
