"""From evaluated runs to one row per variant × pruning ratio × benchmark, and overall.

Everything is paired: variants are compared with ``evaluation.reference`` on the same images, drawn
together in every resample. Retention is pruned ÷ baseline native value in percent; overall is its
unweighted mean over benchmarks. "better" and "worse" come from a paired sign-flip test with Holm's
correction over one declared family (all variants × ratios × benchmarks and overall), never from
intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hawk.analysis import statistics
from hawk.analysis.controls import Cell, control_rows, is_calibrated
from hawk.analysis.evaluation_files import Evaluated, Scored
from hawk.analysis.resampling import (
    JointGroups,
    Pairing,
    bootstrap_counts,
    flips_needed,
    percentile_interval,
    resampled_stack,
    resampled_values,
    rng_of,
    sign_flip_pvalues,
)
from hawk.pruning.budget import ratio_text

OVERALL = "overall"
BASELINE = "baseline"
MAJORITY = "majority"


Blocks = Mapping[str, Sequence[Evaluated]]  # benchmark → what each run measured on it


def compare(
    config: Mapping[str, Any], evaluated: Sequence[Evaluated]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of ``tables/retention`` and of ``tables/controls``.

    A benchmark may be there several times, of several runs (models): then a row is the mean over them. They
    were asked about the same images, so an image is drawn, and swapped in tests, in all models and seeds at
    once: models and seeds are blocks, never units that would make n larger.
    """
    blocks: dict[str, list[Evaluated]] = {}
    for one in evaluated:
        blocks.setdefault(one.name, []).append(one)
    draws = _draws(config, blocks)
    rows = []
    for variant, method, ratio in _conditions(config):
        cells = [_row(config, some, variant, ratio, draws) for some in blocks.values()]
        for row in [*cells, _overall_row(config, blocks, cells, variant, ratio, draws)]:
            rows.append({"variant": variant, "method": method, "pruning_ratio": ratio, **row})
    _add_tests(config, blocks, rows)
    overall = {
        (row["variant"], row["pruning_ratio"]): row["retention"]
        for row in rows
        if row["benchmark"] == OVERALL
    }
    return rows, control_rows(config, overall, draws["joint"], list(blocks))


def _conditions(config: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
    """(variant, method, ratio) in the order of the table."""
    ratios = [ratio_text(ratio) for ratio in config["evaluation"]["ratios"]]
    conditions: list[tuple[str, str, str | None]] = [(BASELINE, BASELINE, "0")]
    conditions += [
        (one["name"], one["method"], ratio) for one in config["evaluation"]["variants"] for ratio in ratios
    ]
    return [*conditions, (MAJORITY, MAJORITY, None)]


def scored_of(one: Evaluated, variant: str, ratio: str | None) -> Scored:
    if variant in (BASELINE, MAJORITY):
        return one.baseline if variant == BASELINE else one.majority
    return one.variants[variant][str(ratio)]


def _has_reference(config: Mapping[str, Any], variant: str) -> bool:
    reference = config["evaluation"].get("reference")
    return reference is not None and variant not in (reference, BASELINE, MAJORITY)


# --- resampling ---------------------------------------------------------------------------------------


def _joint(blocks: Blocks) -> JointGroups:
    return JointGroups([some[0].samples.groups for some in blocks.values()])


def _draws(config: Mapping[str, Any], blocks: Blocks) -> dict[str, dict[Cell, np.ndarray]]:
    """Retention in every resample, ``[resamples]``: ``own`` drawn per benchmark, ``joint`` together."""
    resamples, seed = config["statistics"]["resamples"], config["seed"]
    joint = _joint(blocks)
    counts = joint.counts(resamples, rng_of(seed, "retention"))
    alone = len(joint.pools) == len(blocks)  # then a joint draw is a draw within each benchmark
    draws: dict[str, dict[Cell, np.ndarray]] = {"own": {}, "joint": {}}
    for (name, some), drawn in zip(blocks.items(), counts, strict=True):
        own = drawn
        if not alone:
            rng = rng_of(seed, "retention", name)
            own = bootstrap_counts(len(some[0].samples.groups), resamples, rng)
        draws["joint"].update(_retention_draws(config, name, some, drawn))
        draws["own"].update(draws["joint"] if alone else _retention_draws(config, name, some, own))
    return draws


def _retention_draws(
    config: Mapping[str, Any], name: str, some: Sequence[Evaluated], counts: np.ndarray
) -> dict[Cell, np.ndarray]:
    value = some[0].samples.benchmark.value
    bases = [resampled_values(counts, one.baseline.sums[0], value) for one in some]
    drawn = {}
    for variant, _, ratio in _conditions(config):
        runs = []
        for one, base in zip(some, bases, strict=True):
            seeds = list(resampled_stack(counts, scored_of(one, variant, ratio).sums, value))
            runs.append(statistics.retention(np.mean(seeds, axis=0), base))
        drawn[variant, ratio, name] = np.mean(runs, axis=0)
    return drawn


# --- rows ---------------------------------------------------------------------------------------------


def _row(
    config: Mapping[str, Any],
    some: Sequence[Evaluated],
    variant: str,
    ratio: str | None,
    draws: Mapping[str, Mapping[Cell, np.ndarray]],
) -> dict[str, Any]:
    one = some[0]  # samples are the same in all runs
    benchmark, scored = one.samples.benchmark, [scored_of(run, variant, ratio) for run in some]
    natives = np.concatenate([benchmark.value(run.sums.sum(axis=1)) for run in scored])  # [runs · seeds]
    kept = np.concatenate([_by_seed(run, variant, ratio) for run in some])
    low, high = percentile_interval(draws["own"][variant, ratio, one.name], _level(config))
    published = _published(config, variant, ratio, one.name)
    row: dict[str, Any] = {
        "benchmark": one.name,
        "native_value": float(np.mean(natives)),
        "points": float(statistics.points(np.mean(natives), benchmark.native_max)),
        "retention": float(np.mean(kept)),
        "ci_low": float(low),
        "ci_high": float(high),
        "seeds": len(natives),
        "seed_low": float(np.min(kept)),
        "seed_high": float(np.max(kept)),
        "kept_tokens": float(np.mean([run.kept_tokens for run in scored])),
        "visual_tokens": float(np.mean([run.baseline.visual_tokens for run in some])),
        "samples": len(one.samples.frame),
        "groups": len(one.samples.groups),
        "unparsed": float(np.mean([run.unparsed for run in scored])),
        "published": published,
        **_nothing(),
    }
    if _has_reference(config, variant):
        name = config["evaluation"]["reference"]
        ours = float(np.mean([_by_seed(run, name, ratio).mean() for run in some]))
        gap = draws["own"][variant, ratio, one.name] - draws["own"][name, ratio, one.name]
        wins = [
            statistics.win_tie_loss(a, b)
            for own, run in zip(scored, some, strict=True)
            for a, b in _pairs(own.scores, scored_of(run, name, ratio).scores)
        ]
        row["difference"] = row["retention"] - ours
        row["difference_low"], row["difference_high"] = (
            float(end) for end in percentile_interval(gap, _level(config))
        )
        row["wins"], row["ties"], row["losses"] = (float(x) for x in np.mean(wins, axis=0))
    return row


def _overall_row(
    config: Mapping[str, Any],
    blocks: Blocks,
    cells: Sequence[Mapping[str, Any]],
    variant: str,
    ratio: str | None,
    draws: Mapping[str, Mapping[Cell, np.ndarray]],
) -> dict[str, Any]:
    def mean(key: str) -> float:
        return float(np.mean([cell[key] for cell in cells]))

    def drawn(name: str) -> np.ndarray:
        return np.mean([draws["joint"][name, ratio, one] for one in blocks], axis=0)

    runs = zip(*blocks.values(), strict=True)
    seeds = np.concatenate([np.mean([_by_seed(one, variant, ratio) for one in run], axis=0) for run in runs])
    low, high = percentile_interval(drawn(variant), _level(config))
    row: dict[str, Any] = {
        "benchmark": OVERALL,
        "native_value": mean("points"),  # natives of different scales have no mean
        "points": mean("points"),
        "retention": mean("retention"),
        "ci_low": float(low),
        "ci_high": float(high),
        "seeds": len(seeds),
        "seed_low": float(seeds.min()),
        "seed_high": float(seeds.max()),
        "kept_tokens": mean("kept_tokens"),
        "visual_tokens": mean("visual_tokens"),
        "samples": sum(cell["samples"] for cell in cells),
        "groups": len(_joint(blocks).union),
        "unparsed": sum(cell["unparsed"] for cell in cells),
        "published": _published(config, variant, ratio, OVERALL),
        **_nothing(),
    }
    if _has_reference(config, variant):
        gap = drawn(variant) - drawn(config["evaluation"]["reference"])
        row["difference"] = mean("difference")
        row["difference_low"], row["difference_high"] = (
            float(end) for end in percentile_interval(gap, _level(config))
        )
        for key in ("wins", "ties", "losses"):
            row[key] = sum(cell[key] for cell in cells)
    return row


def _by_seed(one: Evaluated, variant: str, ratio: str | None) -> np.ndarray:
    value = one.samples.benchmark.value
    natives = value(scored_of(one, variant, ratio).sums.sum(axis=1))
    return statistics.retention(natives, value(one.baseline.sums[0].sum(axis=0)))


def _nothing() -> dict[str, Any]:
    keys = ("difference", "difference_low", "difference_high", "wins", "ties", "losses")
    return {**dict.fromkeys(keys), "p_value": None, "p_adjusted": None, "verdict": None}


def _pairs(first: np.ndarray, second: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(first) == len(second):
        return list(zip(first, second, strict=True))
    return [(a, b) for a in first for b in second]


def _level(config: Mapping[str, Any]) -> float:
    return config["statistics"]["confidence"]


def _published(config: Mapping[str, Any], variant: str, ratio: str | None, benchmark: str) -> float | None:
    """``evaluation.published: {ratio: {benchmark: native value}}``, beside the baseline and HAWK.

    ``overall`` is a retention in percent there, as papers give it. Not beside the controls: the
    numbers are those of calibrated weights.
    """
    table = config["evaluation"].get("published") or {}
    published = {one["name"] for one in config["evaluation"]["variants"] if is_calibrated(one)} | {BASELINE}
    if ratio is None or variant not in published:
        return None
    by_ratio = {ratio_text(key): values for key, values in table.items()}
    value = by_ratio.get(ratio, {}).get(benchmark)
    return None if value is None else float(value)


# --- tests --------------------------------------------------------------------------------------------


def _add_tests(config: Mapping[str, Any], blocks: Blocks, rows: Sequence[dict[str, Any]]) -> None:
    """Sign-flip p, Holm-adjusted p and verdict into every row that has a reference."""
    tested = [row for row in rows if _has_reference(config, row["variant"])]
    if not tested:
        return
    flips = flips_needed(len(tested))
    joint = _joint(blocks)
    places = dict(zip(blocks, joint.index, strict=True))
    # The overall mean of one benchmark is that benchmark: one hypothesis, tested once.
    asked = [*places, OVERALL] if len(places) > 1 else [*places]
    for name in asked:
        family = [row for row in tested if row["benchmark"] == name]
        part = [one for some in blocks.values() for one in some if name in (one.name, OVERALL)]
        comparisons = []
        for row in family:
            pairings = [_pairing(config, one, row, len(part)) for one in part]
            index = [
                places[one.name] if name == OVERALL else np.arange(len(one.samples.groups)) for one in part
            ]
            comparisons.append(list(zip(pairings, index, strict=True)))
        groups = len(joint.union) if name == OVERALL else len(part[0].samples.groups)
        rng = rng_of(config["seed"], "flips", name)
        found = sign_flip_pvalues(comparisons, groups, flips, rng)
        for row, p in zip(family, found.tolist(), strict=True):
            row["p_value"] = p
    # Where the baseline is 0 there is no retention, no difference, and nothing to test.
    defined = [row for row in tested if row["benchmark"] in asked and not np.isnan(row["difference"])]
    adjusted = statistics.holm([row["p_value"] for row in defined])
    for row, p in zip(defined, adjusted.tolist(), strict=True):
        row["p_adjusted"] = p
        row["verdict"] = statistics.verdict(row["difference"], p)
    for row in tested:
        if np.isnan(row["difference"]):
            row["p_value"] = None
    if len(places) == 1:
        found_for = {(row["variant"], row["pruning_ratio"]): row for row in defined}
        for row in tested:
            same = found_for.get((row["variant"], row["pruning_ratio"]))
            if row["benchmark"] == OVERALL and same is not None:
                row.update({key: same[key] for key in ("p_value", "p_adjusted", "verdict")})


def _pairing(config: Mapping[str, Any], one: Evaluated, row: Mapping[str, Any], parts: int) -> Pairing:
    """In points of retention, so that benchmarks of different scales add up to the overall mean."""
    value, ratio = one.samples.benchmark.value, row["pruning_ratio"]
    base = float(value(one.baseline.sums[0].sum(axis=0)))
    return Pairing.of(
        one.variants[row["variant"]][ratio].sums,
        one.variants[config["evaluation"]["reference"]][ratio].sums,
        value,
        scale=100.0 / (base * parts) if base else float("nan"),
    )
