"""The step head_drops: drops of all heads of one ablation, and how stable they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from hawk.analysis import statistics
from hawk.analysis.drops import Gap, Measured, drop_intervals, drop_rows, estimate_rows
from hawk.analysis.resampling import rng_of
from hawk.analysis.score_files import (
    SCORE_COLUMNS,
    SampleIndex,
    benchmark_of,
    read_scores,
    require_one_setting,
    sample_ids,
    shared_setting,
)
from hawk.analysis.stability import KEYS, stability
from hawk.config.queries import benchmark_named
from hawk.config.recipes import ESTIMATE, ablated_heads, ablation_named, layers
from hawk.core import atomic, files, schemas
from hawk.core.errors import InputError
from hawk.core.heads import Head, head_table
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance

log = logging.getLogger(__name__)

READS = (
    "run",
    "seed",
    "model",
    "ablation.recipes",
    "ablation.heads",
    "calibration.benchmarks",
    "statistics",
    "data",
    "generation.protocol",
)

# What a reference, its repeats and its heads must share for their differences to mean the heads.
PAIRED = (
    "protocol", "model", "geometry", "device", "batch_size", "rows_per_batch", "preprocessing", "prompts",
    "samples", "origin", "holdout", "token_score", "layer", "benchmark_version", "selection_ratio",
    "threads", "seed",
)  # fmt: skip


# Measures in nats → their column of a score table.
NATS = {"logprob": "reference_logprob", "margin": "margin"}


def _floats(table: pa.Table, column: str) -> np.ndarray:
    """[samples], nan where a sample has none."""
    return table.column(column).to_numpy().astype(np.float64)


def measure(config: Mapping[str, Any], paths: RunPaths, name: str, ablation: Mapping[str, Any]) -> Measured:
    """Read reference, repeats and all heads of one benchmark × ablation, with all checks."""
    ablation_name = ablation["name"]
    samples = SampleIndex.read(
        paths.samples("calibration", name),
        benchmark_of(config, name, paths.scores(name, ablation_name, "reference")),
        {"benchmark": name, "role": "calibration"},
    )
    names = {"ablation": ablation_name, "intervention": ablation["intervention"]}
    identity = {"benchmark": name, "role": "calibration", **names}
    settings: dict[str, dict[str, Any]] = {}
    kept: dict[str, np.ndarray] = {}

    def scores(which: str, **more: str) -> pa.Table:
        path = paths.scores(name, ablation_name, which)
        columns = [*SCORE_COLUMNS, "margin", "kept_tokens"]
        table, provenance = read_scores(path, {**identity, "name": which, **more}, columns)
        samples.require(sample_ids(table), path)
        samples.recompute(table, provenance["settings"], path)
        kept[path] = table.column("kept_tokens").to_numpy()
        settings[path] = provenance["settings"]
        return table

    reference_run = scores("reference")
    right = reference_run.column("score").to_numpy()
    unablated = {measure: _floats(reference_run, column) for measure, column in NATS.items()}
    flips = [
        int((scores(f"repeat{number}").column("score").to_numpy() != right).sum())
        for number in range(1, config["statistics"]["repeats"] + 1)
    ]
    heads = ablated_heads(config, ablation)
    sums, unparsed = [], []
    gaps: dict[str, list[np.ndarray]] = {measure: [] for measure in NATS}
    for head in heads:
        table = scores(str(head), head=str(head))
        sums.append(samples.sums(table))
        for measure, column in NATS.items():
            ablated = _floats(table, column)
            if not np.array_equal(np.isnan(ablated), np.isnan(unablated[measure])):
                raise InputError(
                    f"{paths.scores(name, ablation_name, str(head))}: {column} is there for other samples "
                    f"than in {paths.scores(name, ablation_name, 'reference')}. "
                    "Delete the older and run again."
                )
            gaps[measure].append(unablated[measure] - ablated)
        unparsed.append(table.column("parsed").null_count)
    for key in PAIRED:
        require_one_setting({path: shared_setting(values, key) for path, values in settings.items()}, key)
    first = next(iter(kept))
    for path, tokens in kept.items():
        if not np.array_equal(tokens, kept[first]):
            row = int(np.argmax(tokens != kept[first]))
            raise InputError(
                f"{path}: {tokens[row]} visual tokens are kept of sample "
                f"{samples.frame['sample_id'].iloc[row]!r}, but {kept[first][row]} in {first}. "
                "Delete the older and run again."
            )
    hardware = {values.get("hardware") for values in settings.values()}
    if len(hardware) > 1:
        log.warning(
            "%s, %s: scored on %s; answers may differ by rounding between them, which adds to the noise",
            name, ablation_name, ", ".join(sorted(map(str, hardware))),
        )  # fmt: skip
    return Measured(
        samples=samples,
        ablation=ablation_name,
        intervention=ablation["intervention"],
        heads=heads,
        reference_run=samples.sums(reference_run),
        ablated=np.stack(sums),
        gaps={measure: Gap.of(np.stack(rows), samples) for measure, rows in gaps.items()},
        unparsed=np.array(unparsed),
        noise_floor=statistics.noise_floor(float(np.mean(flips)), len(right)),
    )


def estimated(
    config: Mapping[str, Any], paths: RunPaths, name: str, ablation: Mapping[str, Any]
) -> tuple[SampleIndex, tuple[Head, ...], Gap, Gap]:
    """Samples, heads, estimated drops and their sizes of a benchmark, as the step screen_heads wrote them."""
    path = paths.head_gradients(ablation["name"], name)
    identity = {"benchmark": name, "role": "calibration", "ablation": ablation["name"]}
    table = files.read_table(path, schemas.HEAD_GRADIENTS, identity)
    index = SampleIndex.read(
        paths.samples("calibration", name),
        benchmark_named(config, name),
        {"benchmark": name, "role": "calibration"},
    )
    index.require(sample_ids(table), path)
    stored = head_table(sorted(layers(ablation)), config["model"]["heads"])
    if files.provenance_of(table, path)["settings"].get("layers") != sorted(layers(ablation)):
        raise InputError(
            f"{path}: it is of other layers than {sorted(layers(ablation))}; delete it and run again."
        )
    drops = np.full((len(stored), table.num_rows), np.nan)
    for row, own in enumerate(table.column("drops").to_pylist()):
        if own is None:
            continue
        if len(own) != len(stored) or not np.isfinite(own).all():
            raise InputError(
                f"{path}, row {row}: {len(own)} drops for {len(stored)} heads, or one that is not finite. "
                "Delete it and run again."
            )
        drops[:, row] = own
    heads = ablated_heads(config, ablation)
    drops = drops[[stored.index(head) for head in heads]]
    return index, heads, Gap.of(drops, index), Gap.of(np.abs(drops), index)


def head_drops(config: Mapping[str, Any], paths: RunPaths, name: str) -> None:
    """Write ``drops/{name}.parquet`` and ``stability/{name}.json`` of the ablation of that name.

    Reads every score file of calibration benchmarks × heads of the ablation. Stability is about the heads
    that become weights; it is null where their layer is not measured. An ablation by gradient has rows of
    estimates, from one file per benchmark, and no stability.
    """
    ablation = ablation_named(config, name)
    options, seed = config["statistics"], config["seed"]
    rows: list[dict[str, Any]] = []
    parts: list[Measured] = []
    lows: dict[str, np.ndarray] = {}
    for benchmark in config["calibration"]["benchmarks"]:
        if ablation["intervention"] == ESTIMATE:
            index, heads, gap, size = estimated(config, paths, benchmark, ablation)
            rng = rng_of(seed, "drops", benchmark)
            rows += estimate_rows(
                index, ablation, heads, gap, size, options["resamples"], options["confidence"], rng
            )
            continue
        measured = measure(config, paths, benchmark, ablation)
        # The same images are drawn for every ablation: their drops stay comparable.
        rng = rng_of(seed, "drops", benchmark)
        intervals, nats = drop_intervals(measured, options["resamples"], options["confidence"], rng)
        rows += drop_rows(measured, intervals, nats)
        scoring = [head.layer == ablation["layer"] for head in measured.heads]
        lows[benchmark] = np.array([interval.low for interval in intervals])[scoring]
        parts.append(measured.only(np.array(scoring)))
        log.info("%s, %s: %d heads", benchmark, name, len(measured.heads))
    file_provenance = provenance(
        {"table": "drops", "ablation": name},
        statistics=dict(options),
        seed=seed,
        recipe=dict(ablation),
        benchmarks=list(config["calibration"]["benchmarks"]),
        geometry={key: config["model"][key] for key in ("layers", "heads")},
        data={
            benchmark: files.sample_provenance(
                paths.samples("calibration", benchmark), "calibration", benchmark
            )
            for benchmark in config["calibration"]["benchmarks"]
        },
    )
    stability_numbers = stability(parts, lows, seed) if parts and parts[0].heads else None
    # The table last: whoever finds it finds the file beside it as well.
    report = {"keys": KEYS, "ablation": name, "stability": stability_numbers, "provenance": file_provenance}
    atomic.write_json(paths.stability(name), report)
    files.write_table(paths.drops(name), rows, schemas.DROPS, file_provenance)
