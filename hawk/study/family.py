"""The tests of the study: one declared family, Holm-adjusted, paired by image.

The family holds every comparison of a chosen variant (and of the same with weights made without the
evaluated benchmark) with every opponent at every ratio: overall for each model and for the mean over
the training seeds of a family, and per benchmark for the latter. "better" and "worse" need an
adjusted p below .05; the p is of a sign-flip test over images, for the models that are there. Which
training seeds there are is not part of the test: each is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hawk.analysis import statistics
from hawk.analysis.comparison import OVERALL
from hawk.analysis.resampling import flips_needed, linear_sign_flips, percentile_interval, rng_of
from hawk.study.plan import LEFT_OUT, OPPONENTS
from hawk.study.retained import Retained


class Scope(NamedTuple):
    """The models over which a comparison is averaged."""

    name: str
    models: tuple[str, ...]
    whole: bool  # a family's only or averaged scope: also tested per benchmark


def scopes(identities: Mapping[str, Mapping[str, Any]]) -> list[Scope]:
    """Every model alone, and the mean over the models of each architecture that has several."""
    by_family: dict[str, list[str]] = {}
    for model, identity in identities.items():
        by_family.setdefault(identity["family"], []).append(model)
    out = []
    for family, models in by_family.items():
        out += [Scope(model, (model,), len(models) == 1) for model in models]
        if len(models) > 1:
            out.append(Scope(f"{family}, mean of {len(models)}", tuple(models), True))
    return out


def compare_finals(
    config: Mapping[str, Any],
    found: Retained,
    chosen: Sequence[str],
    identities: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One row per scope, benchmark (or overall), tested variant, opponent and ratio."""
    ratios = [f"{ratio:g}" for ratio in config["evaluation"]["ratios"]]
    counts = found.counts(config["statistics"]["resamples"], config["seed"])
    level = config["statistics"]["confidence"]
    rows: list[dict[str, Any]] = []
    shares = []
    for scope in scopes(identities):
        where: list[tuple[str, Sequence[int]]] = [(OVERALL, range(len(found.benchmarks)))]
        if scope.whole:
            where += [(name, [b]) for b, name in enumerate(found.benchmarks)]
        for name, which in where:
            for variant in [*chosen, *(one + LEFT_OUT for one in chosen)]:
                for opponent in OPPONENTS:
                    for ratio in ratios:
                        one, other = (variant, ratio), (opponent, ratio)
                        share = found.difference(scope.models, one, other, which)
                        drawn = found.draws(counts, scope.models, one, which)
                        drawn = drawn - found.draws(counts, scope.models, other, which)
                        low, high = percentile_interval(drawn, level).tolist()
                        shares.append(share)
                        rows.append(
                            {
                                "scope": scope.name,
                                "benchmark": name,
                                "variant": variant,
                                "opponent": opponent,
                                "ratio": ratio,
                                "difference": float(share.sum()),
                                "interval": [low, high],
                            }
                        )
    rng = rng_of(config["seed"], "study", "flips")
    pvalues = linear_sign_flips(np.stack(shares), flips_needed(len(rows)), rng)
    adjusted = statistics.holm(pvalues)
    for row, p, holm in zip(rows, pvalues.tolist(), adjusted.tolist(), strict=True):
        row.update(p=p, p_adjusted=holm, verdict=statistics.verdict(row["difference"], holm))
    return rows


def retention_rows(
    config: Mapping[str, Any],
    found: Retained,
    variants: Sequence[str],
    identities: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Retention of every finalist, overall and per benchmark, with its interval."""
    counts = found.counts(config["statistics"]["resamples"], config["seed"])
    rows = []
    for scope in scopes(identities):
        for variant in variants:
            for ratio in (f"{ratio:g}" for ratio in config["evaluation"]["ratios"]):
                condition = (variant, ratio)
                drawn = found.draws(counts, scope.models, condition, range(len(found.benchmarks)))
                by_benchmark = np.mean([found.by_benchmark(m, condition) for m in scope.models], axis=0)
                rows.append(
                    {
                        "scope": scope.name,
                        "variant": variant,
                        "ratio": ratio,
                        "retention": found.overall(scope.models, condition),
                        "interval": percentile_interval(drawn, config["statistics"]["confidence"]).tolist(),
                        "by_benchmark": dict(zip(found.benchmarks, by_benchmark.tolist(), strict=True)),
                    }
                )
    return rows
