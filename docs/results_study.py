"""The study over trainings (docs/study.md and docs/seeds.md): a run per model, and what they say together."""

from __future__ import annotations

import itertools
from pathlib import Path

from results_tables import ROOT, SHOWN, by_scenes, paired, ratios_of

from hawk.analysis.blocks import BASELINE, MAJORITY
from hawk.analysis.comparison import OVERALL
from hawk.core.head_weights import HeadWeights, layer_choice
from hawk.core.paths import RunPaths
from hawk.report.tables import hypotheses, hypotheses_about, read_hypotheses, read_retention

STUDY = ROOT / "outputs" / "study"
# Of config/study/layers.yaml, by the family of the model that ships.
LAYERS = {
    "Qwen2.5-VL's classes": ROOT / "outputs" / "layers",
    "InternVL3's classes": ROOT / "outputs" / "layers-internvl",
}
REDUCTIONS = ROOT / "outputs" / "study-reductions"  # of config/study/reductions.yaml
# Of the study's models, those that nobody had run before it.
FRESH = ("qwen-3", "internvl-1", "internvl-2", "internvl-3")
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
    return [*lines, "", *reductions(), "", *layers()]


def reductions() -> list[str]:
    """How the question's words are put together, with uniform weights, as tried on development images."""
    frame, settings = read_retention(str(REDUCTIONS))
    ratios = ratios_of(settings)
    rows = frame[(frame["benchmark"] == OVERALL) & ~frame["variant"].isin([BASELINE, MAJORITY])]
    overall = rows.set_index(["variant", "pruning_ratio"])
    lines = [
        "How the question's words are put together, with uniform weights, on development images of busy "
        f"scenes (the Qwen2.5-VL model that ships, {rows['samples'].max()} questions): mean retention in "
        "percent with 95 % intervals over images. `rope`: with rotary positions; `last`: the prompt's last "
        "token alone asks.",
        "",
        f"| variant | {' | '.join(ratios)} |",
        "|---|" + "---|" * len(ratios),
    ]
    order = overall.xs(SHOWN, level="pruning_ratio")["retention"].sort_values(ascending=False).index
    for variant in order:
        cells = [
            f"{row.retention:.1f} [{row.ci_low:.1f}, {row.ci_high:.1f}]"
            for row in (overall.loc[(variant, ratio)] for ratio in ratios)
        ]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def layers() -> list[str]:
    """The layer that calibration chose, and what every layer retains."""
    lines: list[str] = []
    for title, run in LAYERS.items():
        weights = HeadWeights.load(RunPaths(str(run)).head_weights("chosen", "pooled"))
        lines += [
            f"The layer chosen by calibration (`config/study/layers.yaml`), {title}, seed 0: "
            f"{layer_choice(weights)} Mean retention in percent on usual scenes and on busy ones, of every "
            "layer's attention over the question's words with rotary positions:",
            "",
            *by_scenes(run),
            "",
        ]
    return lines[:-1]


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
