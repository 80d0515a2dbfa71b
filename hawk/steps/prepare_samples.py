"""The step prepare_samples: load a benchmark and draw a role's samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hawk.benchmarks.samples import (
    SHARES,
    check_files,
    checked,
    draw,
    pool,
    role_of,
    sample_list_hash,
    to_row,
)
from hawk.config.queries import benchmark_named, samples_section
from hawk.core.errors import InputError, unknown
from hawk.core.files import write_table
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.schemas import SAMPLES

# section is calibration or evaluation, whichever the role belongs to.
READS = (
    "seed",
    "calibration.holdout",
    "evaluation.development",
    "{section}.samples",
    "{section}.strict",
    "data.{benchmark}",
)

log = logging.getLogger(__name__)


def prepare_samples(config: Mapping[str, Any], paths: RunPaths, role: str, benchmark: str) -> None:
    """Load a benchmark, check its samples, draw those of a role, write the samples parquet.

    Its provenance says how many were asked for (``requested``), how many there were to draw from
    (``available``) and how many are of development's share (``from_development``). Fewer than asked for
    is a warning, or an InputError under the section's ``strict``.
    """
    if role not in SHARES:
        raise unknown("role", role, SHARES)
    bench = benchmark_named(config, benchmark)
    seed = config["seed"]
    every = checked(bench, bench.load())
    holdout = config["calibration"]["holdout"]
    section = samples_section(role)
    wanted = config[section]["samples"]
    samples = every
    if holdout == "disjoint":
        keep = config["evaluation"].get("development", False)
        samples = pool(every, role, seed, wanted, keep)
        if not samples:
            raise InputError(
                f"benchmark {benchmark!r} has no image for role {role!r}; it is too small to split."
            )
    chosen = draw(bench, samples, wanted, seed)
    if wanted is not None and len(chosen) < wanted:
        text = _shortage(len(chosen), wanted, len(samples), len(every), role, holdout)
        if config[section].get("strict", False):
            raise InputError(
                f"benchmark {benchmark!r}: {text}, and {section}.strict is set. Lower {section}.samples."
            )
        log.warning("benchmark %r: %s.", benchmark, text)
    check_files(chosen, benchmark)
    settings = {
        "benchmark_version": bench.version,
        "data": dict(bench.options),
        "origin": bench.origin(),
        "holdout": holdout,
        "requested": wanted,
        "available": len(samples),
        "seed": seed,
        "samples": sample_list_hash(chosen),
    }
    if holdout == "disjoint" and role == "calibration":
        spare = [sample for sample in chosen if role_of(sample.group_id, seed) != role]
        settings["from_development"] = len(spare)
    rows = [to_row(sample) for sample in chosen]
    identity = {"role": role, "benchmark": benchmark}
    write_table(paths.samples(role, benchmark), rows, SAMPLES, provenance(identity, **settings))


def _shortage(chosen: int, wanted: int, available: int, every: int, role: str, holdout: str) -> str:
    """How many there are of how many, and why."""
    text = f"{chosen} of the {wanted} samples asked for in role {role!r}"
    if available >= wanted:
        return f"{text}; rows that the metric needs together are taken together"
    if holdout == "disjoint":
        return f"{text}; the images of that role have {available} of all {every}"
    return f"{text}; there are no more"
