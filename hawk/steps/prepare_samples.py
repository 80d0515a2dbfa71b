"""The step prepare_samples: load a benchmark and draw a role's samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.benchmarks.samples import SHARES, check_files, checked, draw, role_of, sample_list_hash, to_row
from hawk.config.queries import benchmark_named, samples_section
from hawk.core.errors import InputError, unknown
from hawk.core.files import write_table
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.schemas import SAMPLES

# section is calibration or evaluation, whichever the role belongs to.
READS = ("seed", "calibration.holdout", "{section}.samples", "data.{benchmark}")


def prepare_samples(config: Mapping[str, Any], paths: RunPaths, role: str, benchmark: str) -> None:
    """Load a benchmark, check its samples, draw those of a role, write the samples parquet."""
    if role not in SHARES:
        raise unknown("role", role, SHARES)
    bench = benchmark_named(config, benchmark)
    seed = config["seed"]
    samples = checked(bench, bench.load())
    holdout = config["calibration"]["holdout"]
    if holdout == "disjoint":
        samples = [sample for sample in samples if role_of(sample.group_id, seed) == role]
        if not samples:
            raise InputError(
                f"benchmark {benchmark!r} has no image for role {role!r}; it is too small to split."
            )
    wanted = config[samples_section(role)]["samples"]
    chosen = draw(bench, samples, wanted, seed)
    check_files(chosen)
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
    rows = [to_row(sample) for sample in chosen]
    identity = {"role": role, "benchmark": benchmark}
    write_table(paths.samples(role, benchmark), rows, SAMPLES, provenance(identity, **settings))
