"""The step prepare_samples: load a benchmark and draw a role's samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import SHARES, check_files, checked, draw, role_of, sample_list_hash, to_row
from hawk.core.errors import InputError, unknown
from hawk.core.files import write_table
from hawk.core.provenance import provenance
from hawk.core.schemas import SAMPLES


def prepare_samples(config: Mapping[str, Any], name: str, role: str, output: str) -> None:
    """Load a benchmark, check its samples, draw those of a role, write the samples parquet."""
    if role not in SHARES:
        raise unknown("role", role, SHARES)
    bench = benchmark(name, config.get("data", {}).get(name))
    seed = config["seed"]
    samples = checked(bench, bench.load())
    holdout = config["calibration"]["holdout"]
    if holdout == "disjoint":
        samples = [sample for sample in samples if role_of(sample.group_id, seed) == role]
        if not samples:
            raise InputError(f"benchmark {name!r} has no image for role {role!r}; it is too small to split.")
    wanted = config["calibration" if role == "calibration" else "evaluation"]["samples"]
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
    write_table(output, rows, SAMPLES, provenance({"role": role, "benchmark": name}, **settings))
