"""Comparisons that the config declares before a run, tested together as one family.

``evaluation.reference`` compares every variant with one other; ``evaluation.hypotheses`` says which pairs
a study is about: a variant, what it is compared with, and where not all are meant, at which pruning ratios
and on which benchmarks, whose mean is compared. Each hypothesis × ratio is one paired sign-flip test over
images; Holm's correction is over all of them and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hawk.analysis import statistics
from hawk.analysis.blocks import blocks_of, joint_groups, pairing, retention_by_seed, retention_draws
from hawk.analysis.evaluation_files import Evaluated
from hawk.analysis.resampling import flips_needed, percentile_interval, rng_of, sign_flip_pvalues
from hawk.core.schemas import described
from hawk.pruning.budget import ratio_text

# The columns of tables/hypotheses, and what each holds.
HYPOTHESES, HYPOTHESES_MEANINGS = described(
    [
        ("hypothesis", pa.int32(), "Its place in `evaluation.hypotheses`, from 1."),
        ("variant", pa.string(), "The variant of which something is said."),
        ("against", pa.string(), "The variant that it is compared with."),
        ("pruning_ratio", pa.string(), "Fraction of visual tokens removed, as an exact decimal."),
        ("benchmarks", pa.list_(pa.string()), "The benchmarks whose mean is compared."),
        ("retention", pa.float64(), "The variant's retention in percent, averaged over benchmarks and runs."),
        ("against_retention", pa.float64(), "The same of the variant that it is compared with."),
        ("difference", pa.float64(), "Between the two, in points of retention."),
        ("difference_low", pa.float64(), "Lower end of its interval."),
        ("difference_high", pa.float64(), "Upper end of its interval."),
        ("p_value", pa.float64(), "Of the paired sign-flip test over images."),
        ("p_adjusted", pa.float64(), "The same after Holm's correction over all rows of this table."),
        ("verdict", pa.string(), "`better`, `worse` or `—`."),
        ("samples", pa.int32(), "Number of questions, each answered by every run (model)."),
        ("groups", pa.int32(), "Number of distinct images."),
        ("runs", pa.int32(), "Number of runs (models)."),
    ]
)


def hypothesis_rows(config: Mapping[str, Any], evaluated: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """The rows of ``tables/hypotheses``, in the config's order; none if it declares no hypothesis."""
    blocks = blocks_of(evaluated)
    declared = _declared(config, list(blocks))
    if not declared:
        return []
    conditions = {(row[side], row["pruning_ratio"]) for row in declared for side in ("variant", "against")}
    draws = retention_draws(config, blocks, sorted(conditions))["joint"]
    joint = joint_groups(blocks)
    places = dict(zip(blocks, joint.index, strict=True))
    comparisons = []
    for row in declared:
        first, second, ratio, names = (
            row[key] for key in ("variant", "against", "pruning_ratio", "benchmarks")
        )
        members = [results for name in names for results in blocks[name]]
        row["retention"], row["against_retention"] = (
            float(np.mean([retention_by_seed(results, variant, ratio).mean() for results in members]))
            for variant in (first, second)
        )
        row["difference"] = row["retention"] - row["against_retention"]
        gap = np.mean([draws[first, ratio, name] - draws[second, ratio, name] for name in names], axis=0)
        low, high = percentile_interval(gap, config["statistics"]["confidence"])
        row["difference_low"], row["difference_high"] = float(low), float(high)
        row["samples"] = sum(len(blocks[name][0].samples.frame) for name in names)
        row["groups"] = len(np.unique(np.concatenate([places[name] for name in names])))
        row["runs"] = len(blocks[names[0]])
        comparisons.append(
            [
                (pairing(results, first, second, ratio, len(members)), places[results.name])
                for results in members
            ]
        )
    flips, rng = flips_needed(len(declared)), rng_of(config["seed"], "flips", "hypotheses")
    p_values = sign_flip_pvalues(comparisons, len(joint.union), flips, rng).tolist()
    for row, p in zip(declared, p_values, strict=True):
        row["p_value"] = p
    # Where the baseline is 0 there is no retention, no difference, and nothing to test.
    defined = [row for row in declared if not np.isnan(row["difference"])]
    adjusted = statistics.holm([row["p_value"] for row in defined]).tolist()
    for row, p in zip(defined, adjusted, strict=True):
        row["p_adjusted"], row["verdict"] = p, statistics.verdict(row["difference"], p)
    for row in declared:
        if np.isnan(row["difference"]):
            row["p_value"] = None
    return declared


def _declared(config: Mapping[str, Any], benchmarks: Sequence[str]) -> list[dict[str, Any]]:
    """One row per hypothesis and ratio, with what the config says of it."""
    evaluation = config["evaluation"]
    return [
        {
            "hypothesis": number,
            "variant": hypothesis["variant"],
            "against": hypothesis["against"],
            "pruning_ratio": ratio_text(ratio),
            "benchmarks": list(hypothesis.get("benchmarks") or benchmarks),
            "p_adjusted": None,
            "verdict": None,
        }
        for number, hypothesis in enumerate(evaluation["hypotheses"], 1)
        for ratio in hypothesis.get("ratios") or evaluation["ratios"]
    ]
