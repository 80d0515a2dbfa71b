"""The step head_drops: drops of all heads, and how stable they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from hawk.analysis import statistics
from hawk.analysis.drops import Measured, ablated_heads, drop_intervals, drop_rows
from hawk.analysis.resampling import (
    rng_of,
)
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
from hawk.core import atomic, files, schemas
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance

log = logging.getLogger(__name__)

READS = (
    "run",
    "seed",
    "model",
    "scoring",
    "ablation",
    "calibration",
    "statistics",
    "data",
    "generation.protocol",
)

# What a reference, its repeats and its heads must share for their differences to mean the heads.
PAIRED = (
    "protocol", "model", "geometry", "device", "batch_size", "rows_per_batch", "preprocessing", "prompts",
    "samples", "origin", "holdout", "token_score", "scoring", "benchmark_version", "selection_ratio",
    "threads", "seed",
)  # fmt: skip


def measure(config: Mapping[str, Any], paths: RunPaths, name: str, intervention: str) -> Measured:
    """Read reference, repeats and all heads of one benchmark × intervention, with all checks."""
    samples = SampleIndex.read(
        paths.samples("calibration", name),
        benchmark_of(config, name, paths.scores(name, intervention, "reference")),
        {"benchmark": name, "role": "calibration"},
    )
    identity = {"benchmark": name, "intervention": intervention, "role": "calibration"}
    settings: dict[str, dict[str, Any]] = {}
    kept: dict[str, np.ndarray] = {}

    def scores(which: str, **more: str) -> pa.Table:
        path = paths.scores(name, intervention, which)
        columns = [*SCORE_COLUMNS, "kept_tokens"]
        table, provenance = read_scores(path, {**identity, "name": which, **more}, columns)
        samples.require(sample_ids(table), path)
        samples.recompute(table, provenance["settings"], path)
        kept[path] = table.column("kept_tokens").to_numpy()
        settings[path] = provenance["settings"]
        return table

    reference_run = scores("reference")
    right, logprob = (reference_run.column(key).to_numpy() for key in ("score", "reference_logprob"))
    flips = [
        int((scores(f"repeat{number}").column("score").to_numpy() != right).sum())
        for number in range(1, config["statistics"]["repeats"] + 1)
    ]
    heads = ablated_heads(config, intervention)
    sums, logprob_drop, unparsed = [], [], []
    for head in heads:
        table = scores(str(head), head=str(head))
        sums.append(samples.sums(table))
        logprob_drop.append(float((logprob - table.column("reference_logprob").to_numpy()).mean()))
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
            name, intervention, ", ".join(sorted(map(str, hardware))),
        )  # fmt: skip
    return Measured(
        samples=samples,
        intervention=intervention,
        heads=heads,
        reference_run=samples.sums(reference_run),
        ablated=np.stack(sums),
        logprob_drop=np.array(logprob_drop),
        unparsed=np.array(unparsed),
        noise_floor=statistics.noise_floor(float(np.mean(flips)), len(right)),
    )


def head_drops(config: Mapping[str, Any], paths: RunPaths) -> None:
    """Write ``drops.parquet`` and ``stability.json``.

    Reads every score file of calibration benchmarks × interventions × heads of the run.
    """
    options, seed = config["statistics"], config["seed"]
    rows: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for intervention in config["ablation"]["interventions"]:
        parts: list[Measured] = []
        lows: dict[str, np.ndarray] = {}
        for name in config["calibration"]["benchmarks"]:
            measured = measure(config, paths, name, intervention)
            # The same images are drawn for every intervention: their drops stay comparable.
            rng = rng_of(seed, "drops", name)
            intervals = drop_intervals(measured, options["resamples"], options["confidence"], rng)
            rows += drop_rows(measured, intervals)
            scoring = [h.layer == config["scoring"]["layer"] for h in measured.heads]
            lows[name] = np.array([interval.low for interval in intervals])[scoring]
            parts.append(measured.only(np.array(scoring)))
            log.info("%s, %s: %d heads", name, intervention, len(measured.heads))
        if parts[0].heads:
            report[intervention] = stability(parts, lows, seed)
    file_provenance = provenance(
        {"table": "drops"},
        statistics=dict(options),
        seed=seed,
        interventions=list(config["ablation"]["interventions"]),
        benchmarks=list(config["calibration"]["benchmarks"]),
        geometry={key: config["model"][key] for key in ("layers", "heads")},
        data={
            name: files.sample_provenance(paths.samples("calibration", name), "calibration", name)
            for name in config["calibration"]["benchmarks"]
        },
    )
    # The table last: whoever finds it finds the file beside it as well.
    atomic.write_json(
        paths.stability(), {"keys": KEYS, "interventions": report, "provenance": file_provenance}
    )
    files.write_table(paths.drops(), rows, schemas.DROPS, file_provenance)
