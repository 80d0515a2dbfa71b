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
import pyarrow as pa

from hawk.analysis import statistics
from hawk.analysis.blocks import (
    BASELINE,
    MAJORITY,
    Blocks,
    Cell,
    blocks_of,
    joint_groups,
    pairing,
    retention_by_seed,
    retention_draws,
    scored_of,
)
from hawk.analysis.controls import control_rows
from hawk.analysis.evaluation_files import Evaluated
from hawk.analysis.resampling import flips_needed, percentile_interval, rng_of, sign_flip_pvalues
from hawk.core.schemas import described
from hawk.pruning.budget import ratio_text

OVERALL = "overall"

# The columns of tables/retention, and what each holds.
RETENTION, RETENTION_MEANINGS = described(
    [
        ("variant", pa.string(), "A variant's name, or `baseline`, or `majority`."),
        ("method", pa.string(), "The pruning method."),
        ("pruning_ratio", pa.string(), 'As an exact decimal; "0" for the baseline. Empty for `majority`.'),
        ("benchmark", pa.string(), "The benchmark's name, or `overall`."),
        (
            "native_value",
            pa.float64(),
            "The benchmark's value in its own unit; for `overall` the mean of points.",
        ),
        ("points", pa.float64(), "The same in points of 100."),
        ("retention", pa.float64(), "Percent of the unpruned model's value, averaged over seeds."),
        ("ci_low", pa.float64(), "Lower end of the interval."),
        ("ci_high", pa.float64(), "Upper end of the interval."),
        ("seeds", pa.int32(), "Number of seeds."),
        ("seed_low", pa.float64(), "Lowest retention of a seed."),
        ("seed_high", pa.float64(), "Highest retention of a seed."),
        (
            "difference",
            pa.float64(),
            "To the variant `evaluation.reference`: points of retention, paired by question.",
        ),
        ("difference_low", pa.float64(), "Lower end of its interval."),
        ("difference_high", pa.float64(), "Upper end of its interval."),
        ("p_value", pa.float64(), "Of the paired sign-flip test over images. Empty where nothing is tested."),
        ("p_adjusted", pa.float64(), "The same after Holm's correction over all tested rows."),
        ("verdict", pa.string(), "`better`, `worse` or `—`. Empty where nothing is tested."),
        ("wins", pa.float64(), "Questions that score higher than under the reference, averaged over seeds."),
        ("ties", pa.float64(), "Questions that score the same."),
        ("losses", pa.float64(), "Questions that score lower."),
        ("kept_tokens", pa.float64(), "Mean per question."),
        ("visual_tokens", pa.float64(), "Mean per question."),
        ("samples", pa.int32(), "Number of questions."),
        ("requested", pa.int32(), "Questions that were asked for. Empty: all that there are."),
        ("groups", pa.int32(), "Number of distinct images."),
        ("unparsed", pa.float64(), "Answers from which nothing could be read."),
        ("not_stopped", pa.float64(), "Percent of the answers that ran to the limit of new tokens."),
        ("first_word_retention", pa.float64(), "Retention when only the first word of an answer counts."),
        ("keeps_token_0", pa.float64(), "Percent of the prompts whose first visual token was kept."),
        ("at_floor", pa.bool_(), "Whether it retains no more than always giving the most frequent answer."),
        ("published", pa.float64(), "The number that `evaluation.published` gives for this row, if any."),
    ]
)


def compare(
    config: Mapping[str, Any], evaluated: Sequence[Evaluated]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of ``tables/retention`` and of ``tables/controls``.

    Of several runs (models) a row is the mean over them.
    """
    blocks, conditions = blocks_of(evaluated), _conditions(config)
    draws = retention_draws(config, blocks, [(variant, ratio) for variant, _, ratio in conditions])
    rows = []
    for variant, method, ratio in conditions:
        cells = [_row(config, runs, variant, ratio, draws) for runs in blocks.values()]
        for row in [*cells, _overall_row(config, blocks, cells, variant, ratio, draws)]:
            rows.append({"variant": variant, "method": method, "pruning_ratio": ratio, **row})
    _mark_floor(rows)
    _add_tests(config, blocks, rows)
    overall = {
        (row["variant"], row["pruning_ratio"]): row["retention"]
        for row in rows
        if row["benchmark"] == OVERALL
    }
    return rows, control_rows(config, overall, draws["joint"], list(blocks))


def _mark_floor(rows: Sequence[dict[str, Any]]) -> None:
    """Whether each row retains no more than always giving the most frequent answer does."""
    floor = {row["benchmark"]: row["retention"] for row in rows if row["variant"] == MAJORITY}
    for row in rows:
        is_variant = row["variant"] not in (BASELINE, MAJORITY)
        row["at_floor"] = bool(row["retention"] <= floor[row["benchmark"]]) if is_variant else None


def _conditions(config: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
    """(variant, method, ratio) in the order of the table."""
    ratios = [ratio_text(ratio) for ratio in config["evaluation"]["ratios"]]
    conditions: list[tuple[str, str, str | None]] = [(BASELINE, BASELINE, "0")]
    conditions += [
        (variant["name"], variant["method"], ratio)
        for variant in config["evaluation"]["variants"]
        for ratio in ratios
    ]
    return [*conditions, (MAJORITY, MAJORITY, None)]


def _is_tested(config: Mapping[str, Any], variant: str) -> bool:
    reference_variant = config["evaluation"].get("reference")
    return reference_variant is not None and variant not in (reference_variant, BASELINE, MAJORITY)


# --- rows ---------------------------------------------------------------------------------------------


def _row(
    config: Mapping[str, Any],
    runs: Sequence[Evaluated],
    variant: str,
    ratio: str | None,
    draws: Mapping[str, Mapping[Cell, np.ndarray]],
) -> dict[str, Any]:
    results = runs[0]  # samples are the same in all runs
    benchmark, scored = results.samples.benchmark, [scored_of(run, variant, ratio) for run in runs]
    natives = np.concatenate([benchmark.value(of.sums.sum(axis=1)) for of in scored])  # [runs · seeds]
    kept = np.concatenate([retention_by_seed(run, variant, ratio) for run in runs])
    low, high = percentile_interval(
        draws["own"][variant, ratio, results.name], config["statistics"]["confidence"]
    )
    published = _published(config, variant, ratio, results.name)
    row: dict[str, Any] = {
        "benchmark": results.name,
        "native_value": float(np.mean(natives)),
        "points": float(statistics.points(np.mean(natives), benchmark.native_max)),
        "retention": float(np.mean(kept)),
        "ci_low": float(low),
        "ci_high": float(high),
        "seeds": len(natives),
        "seed_low": float(np.min(kept)),
        "seed_high": float(np.max(kept)),
        "kept_tokens": float(np.mean([scores.kept_tokens for scores in scored])),
        "visual_tokens": float(np.mean([run.baseline.visual_tokens for run in runs])),
        "samples": len(results.samples.frame),
        "requested": results.samples.requested,
        "groups": len(results.samples.groups),
        "unparsed": float(np.mean([scores.unparsed for scores in scored])),
        "not_stopped": _known([100.0 * scores.not_stopped for scores in scored]),
        "first_word_retention": _known(
            [
                statistics.retention(scores.first_word, run.baseline.first_word)
                for scores, run in zip(scored, runs, strict=True)
            ]
        ),
        "keeps_token_0": _known([100.0 * scores.keeps_token_0 for scores in scored]),
        "published": published,
        **_nothing(),
    }
    if _is_tested(config, variant):
        name = config["evaluation"]["reference"]
        ours = float(np.mean([retention_by_seed(run, name, ratio).mean() for run in runs]))
        gap = draws["own"][variant, ratio, results.name] - draws["own"][name, ratio, results.name]
        wins = [
            statistics.win_tie_loss(a, b)
            for scores, run in zip(scored, runs, strict=True)
            for a, b in _pairs(scores.scores, scored_of(run, name, ratio).scores)
        ]
        row["difference"] = row["retention"] - ours
        row["difference_low"], row["difference_high"] = (
            float(end) for end in percentile_interval(gap, config["statistics"]["confidence"])
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
        return np.mean([draws["joint"][name, ratio, benchmark] for benchmark in blocks], axis=0)

    runs = zip(*blocks.values(), strict=True)
    seeds = np.concatenate(
        [np.mean([retention_by_seed(results, variant, ratio) for results in run], axis=0) for run in runs]
    )
    low, high = percentile_interval(drawn(variant), config["statistics"]["confidence"])
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
        "requested": _sum_if_all([cell["requested"] for cell in cells]),
        "groups": len(joint_groups(blocks).union),
        "unparsed": sum(cell["unparsed"] for cell in cells),
        **{
            key: None if any(cell[key] is None for cell in cells) else mean(key)
            for key in ("not_stopped", "first_word_retention", "keeps_token_0")
        },
        "published": _published(config, variant, ratio, OVERALL),
        **_nothing(),
    }
    if _is_tested(config, variant):
        gap = drawn(variant) - drawn(config["evaluation"]["reference"])
        row["difference"] = mean("difference")
        row["difference_low"], row["difference_high"] = (
            float(end) for end in percentile_interval(gap, config["statistics"]["confidence"])
        )
        for key in ("wins", "ties", "losses"):
            row[key] = sum(cell[key] for cell in cells)
    return row


def _known(by_run: Sequence[float | np.ndarray]) -> float | None:
    mean = float(np.mean(np.array(by_run, dtype=np.float64)))
    return None if np.isnan(mean) else mean


def _sum_if_all(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _nothing() -> dict[str, Any]:
    keys = ("difference", "difference_low", "difference_high", "wins", "ties", "losses")
    return {**dict.fromkeys(keys), "p_value": None, "p_adjusted": None, "verdict": None}


def _pairs(first: np.ndarray, second: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(first) == len(second):
        return list(zip(first, second, strict=True))
    return [(a, b) for a in first for b in second]


def _published(config: Mapping[str, Any], variant: str, ratio: str | None, benchmark: str) -> float | None:
    """``evaluation.published``: a native value; of overall, a retention in percent."""
    for key, values in config["evaluation"].get("published", {}).get(variant, {}).items():
        if ratio_text(key) == ratio and benchmark in values:
            return float(values[benchmark])
    return None


# --- tests --------------------------------------------------------------------------------------------


def _add_tests(config: Mapping[str, Any], blocks: Blocks, rows: Sequence[dict[str, Any]]) -> None:
    """Sign-flip p, Holm-adjusted p and verdict into every row that is compared with the reference variant."""
    tested = [row for row in rows if _is_tested(config, row["variant"])]
    if not tested:
        return
    reference, flips = config["evaluation"]["reference"], flips_needed(len(tested))
    joint = joint_groups(blocks)
    places = dict(zip(blocks, joint.index, strict=True))
    # The overall mean of one benchmark is that benchmark: one hypothesis, tested once.
    tested_names = [*places, OVERALL] if len(places) > 1 else [*places]
    for name in tested_names:
        family = [row for row in tested if row["benchmark"] == name]
        members = [results for runs in blocks.values() for results in runs if name in (results.name, OVERALL)]
        comparisons = []
        for row in family:
            pairings = [
                pairing(results, row["variant"], reference, row["pruning_ratio"], len(members))
                for results in members
            ]
            index = [
                places[results.name] if name == OVERALL else np.arange(len(results.samples.groups))
                for results in members
            ]
            comparisons.append(list(zip(pairings, index, strict=True)))
        groups = len(joint.union) if name == OVERALL else len(members[0].samples.groups)
        rng = rng_of(config["seed"], "flips", name)
        p_values = sign_flip_pvalues(comparisons, groups, flips, rng)
        for row, p in zip(family, p_values.tolist(), strict=True):
            row["p_value"] = p
    # Where the baseline is 0 there is no retention, no difference, and nothing to test.
    defined = [row for row in tested if row["benchmark"] in tested_names and not np.isnan(row["difference"])]
    adjusted = statistics.holm([row["p_value"] for row in defined])
    for row, p in zip(defined, adjusted.tolist(), strict=True):
        row["p_adjusted"] = p
        row["verdict"] = statistics.verdict(row["difference"], p)
    for row in tested:
        if np.isnan(row["difference"]):
            row["p_value"] = None
    if len(places) == 1:
        row_for = {(row["variant"], row["pruning_ratio"]): row for row in defined}
        for row in tested:
            same = row_for.get((row["variant"], row["pruning_ratio"]))
            if row["benchmark"] == OVERALL and same is not None:
                row.update({key: same[key] for key in ("p_value", "p_adjusted", "verdict")})
