"""The step ``head_drops``: from score files to one drop per benchmark, intervention and head.

A drop is reference − ablated, paired over the same samples, in points of 100 · native / native_max,
with a bootstrap interval over images. Each intervention is measured against its own reference: the
untouched model for ``zero`` and ``mean``, the model pruned with uniform weights for ``selection``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hawk import records, statistics
from hawk.errors import InputError
from hawk.heads import Head, head_table
from hawk.paths import RunPaths
from hawk.provenance import provenance
from hawk.resampling import (
    Interval,
    bootstrap_counts,
    percentile_interval,
    resampled_stack,
    resampled_values,
)
from hawk.scored import (
    SCORE_COLUMNS,
    SampleIndex,
    benchmark_of,
    read_scores,
    require_one_setting,
    sample_ids,
    shared_setting,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One benchmark × intervention: everything that its statistics need, summed per image."""

    samples: SampleIndex
    intervention: str
    heads: tuple[Head, ...]
    reference: np.ndarray  # [groups, sums]
    ablated: np.ndarray  # [heads, groups, sums]
    logprob_drop: np.ndarray  # [heads], nats per sample
    unparsed: np.ndarray  # [heads]
    noise_floor: float  # points

    @property
    def name(self) -> str:
        return self.samples.benchmark.name

    def only(self, keep: np.ndarray) -> Measured:
        """The heads where ``keep`` (bool ``[heads]``) is true."""
        return replace(
            self,
            heads=tuple(h for h, kept in zip(self.heads, keep, strict=True) if kept),
            ablated=self.ablated[keep],
            logprob_drop=self.logprob_drop[keep],
            unparsed=self.unparsed[keep],
        )

    def points(self, sums: np.ndarray) -> np.ndarray:
        """Aggregate of sums ``[..., sums]`` in points."""
        benchmark = self.samples.benchmark
        return statistics.points(benchmark.value(sums), benchmark.native_max)


def ablated_heads(config: Mapping[str, Any], intervention: str) -> tuple[Head, ...]:
    """The heads of a run, in the order of tables. ``selection`` exists at the scoring layer only."""
    ablation, model = config["ablation"], config["model"]
    layers = sorted(ablation["layers"])
    if intervention == "selection":
        layers = [layer for layer in layers if layer == config["scoring"]["layer"]]
    chosen = ablation["heads"]
    return tuple(
        head for head in head_table(layers, model["heads"]) if chosen == "all" or head.index in chosen
    )


def rng_of(seed: int, *names: str) -> np.random.Generator:
    """A generator that depends on the run's seed and on what it is for, not on the order of calls."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


# What a reference, its repeats and its heads must share for their differences to mean the heads.
PAIRED = (
    "protocol", "model", "geometry", "device", "batch_size", "rows_per_batch", "preprocessing", "prompts",
    "samples", "token_score", "benchmark_version", "selection_ratio",
)  # fmt: skip


def measure(config: Mapping[str, Any], root: str, name: str, intervention: str) -> Measured:
    """Read reference, repeats and all heads of one benchmark × intervention, with all checks."""
    paths = RunPaths(root)
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
        table, made = read_scores(path, {**identity, "name": which, **more}, columns)
        samples.require(sample_ids(table), path)
        kept[path] = table.column("kept_tokens").to_numpy()
        settings[path] = made.get("settings", {})
        return table

    reference = scores("reference")
    right, logprob = (reference.column(key).to_numpy() for key in ("score", "reference_logprob"))
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
        require_one_setting({path: shared_setting(one, key) for path, one in settings.items()}, key)
    first = next(iter(kept))
    for path, tokens in kept.items():
        if not np.array_equal(tokens, kept[first]):
            row = int(np.argmax(tokens != kept[first]))
            raise InputError(
                f"{path}: {tokens[row]} visual tokens are kept of sample "
                f"{samples.frame['sample_id'].iloc[row]!r}, but {kept[first][row]} in {first}. "
                "Delete the older and run again."
            )
    hardware = {one.get("hardware") for one in settings.values()}
    if len(hardware) > 1:
        log.warning(
            "%s, %s: scored on %s; answers may differ by rounding between them, which adds to the noise",
            name, intervention, ", ".join(sorted(map(str, hardware))),
        )  # fmt: skip
    return Measured(
        samples=samples,
        intervention=intervention,
        heads=heads,
        reference=samples.sums(reference),
        ablated=np.stack(sums),
        logprob_drop=np.array(logprob_drop),
        unparsed=np.array(unparsed),
        noise_floor=statistics.noise_floor(float(np.mean(flips)), len(right)),
    )


def drop_values(measured: Measured) -> np.ndarray:
    """The drops of all heads, points, ``[heads]``."""
    reference = measured.points(measured.reference.sum(axis=0))
    return reference - measured.points(measured.ablated.sum(axis=1))


def drop_intervals(
    measured: Measured, resamples: int, confidence: float, rng: np.random.Generator
) -> list[Interval]:
    """Percentile interval of each head's paired drop; reference and ablated draw the same images."""
    counts = bootstrap_counts(len(measured.samples.groups), resamples, rng)
    benchmark = measured.samples.benchmark
    base = resampled_values(counts, measured.reference, benchmark.value)
    intervals = []
    for values in resampled_stack(counts, measured.ablated, benchmark.value):
        gap = statistics.points(base - values, benchmark.native_max)
        intervals.append(Interval(*percentile_interval(gap, confidence).tolist()))
    return intervals


def drop_rows(measured: Measured, intervals: Sequence[Interval]) -> list[dict[str, Any]]:
    """The rows of ``drops.parquet`` for one benchmark × intervention."""
    benchmark = measured.samples.benchmark
    reference = float(benchmark.value(measured.reference.sum(axis=0)))
    rows = []
    for number, (head, drop, interval) in enumerate(
        zip(measured.heads, drop_values(measured).tolist(), intervals, strict=True)
    ):
        rows.append(
            {
                "benchmark": measured.name,
                "intervention": measured.intervention,
                "layer": head.layer,
                "head": head.index,
                "reference_value": reference,
                "ablated_value": float(benchmark.value(measured.ablated[number].sum(axis=0))),
                "drop": drop,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "logprob_drop": float(measured.logprob_drop[number]),
                "samples": len(measured.samples.frame),
                "groups": len(measured.samples.groups),
                "unparsed": int(measured.unparsed[number]),
                "noise_floor": measured.noise_floor,
                "is_noise": statistics.is_noise(drop, *interval, measured.noise_floor),
            }
        )
    return rows


def head_drops(config: Mapping[str, Any], root: str, output: str | None = None) -> str:
    """Write ``drops.parquet`` and ``stability.json`` beside it; returns the table's path.

    Reads every score file of calibration benchmarks × interventions × heads under ``root``
    (``outputs/<run>``).
    """
    from hawk.stability import KEYS, stability

    paths = RunPaths(root)
    output = output or paths.drops()
    options, seed = config["statistics"], config["seed"]
    rows: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for intervention in config["ablation"]["interventions"]:
        parts: list[Measured] = []
        lows: dict[str, np.ndarray] = {}
        for name in config["calibration"]["benchmarks"]:
            measured = measure(config, root, name, intervention)
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
    made = provenance(
        {"table": "drops"},
        statistics=dict(options),
        seed=seed,
        interventions=list(config["ablation"]["interventions"]),
        benchmarks=list(config["calibration"]["benchmarks"]),
        data={
            name: records.asked_of(paths.samples("calibration", name), "calibration", name)
            for name in config["calibration"]["benchmarks"]
        },
    )
    # The table last: whoever finds it finds the file beside it as well.
    beside = Path(output).with_name("stability.json")
    records.write_json(beside, {"keys": KEYS, "interventions": report, "provenance": made})
    records.write_table(output, rows, records.DROPS, made)
    return output
