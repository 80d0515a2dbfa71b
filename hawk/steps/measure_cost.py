"""The step measure_cost: time by phase, KV-cache bytes and memory of every variant and ratio.

The unpruned model runs between the pruned ones, in the same process and on the same samples, so
that the headline is a ratio and not a time: machines differ, and so do their hours.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from hawk.analysis.cost import UNPRUNED
from hawk.benchmarks.samples import read_samples
from hawk.config.queries import benchmark_named, cost_benchmark, own_weights
from hawk.config.recipes import chooses_layer
from hawk.core.errors import InputError, unknown
from hawk.core.files import write_table
from hawk.core.paths import RunPaths
from hawk.core.progress import progress
from hawk.core.provenance import provenance
from hawk.core.schemas import COST
from hawk.core.variants import weight_source, with_uniform
from hawk.inference.phases import Phases, generate_by_phase
from hawk.inference.preprocessing import (
    sample_inputs,
)
from hawk.models.base import VisionLanguageModel
from hawk.models.devices import hardware_name
from hawk.pruning.base import Pruner
from hawk.pruning.budget import ratio_text
from hawk.pruning.options import any_fact, facts
from hawk.steps.session import load_for
from hawk.steps.variants import build, comparison_rules

log = logging.getLogger("hawk")


READS = (
    "seed",
    "model",
    "preprocessing",
    "generation",
    "scoring",
    "cost",
    "weights.recipes",
    "evaluation.benchmarks",
    "evaluation.ratios",
    "evaluation.rounding",
    "evaluation.budget",
    "evaluation.position_policy",
    "evaluation.role",
    "evaluation.variants",
    "data.{benchmark}",
)


def measure_cost(config: Mapping[str, Any], paths: RunPaths) -> None:
    """Measure every variant at every ratio, one sample at a time, and write ``cost.parquet``.

    One row per variant, ratio and repeat: means over the samples, the highest memory. What a head
    weighs costs nothing, so variants with the run's own weights are measured with uniform ones, and
    the step depends on no ablation. What does cost is a deeper layer: where weights say their own, the pooled
    ones are loaded, as are those of a variant that names a file.
    """
    section, evaluation = config["cost"], config["evaluation"]
    name = cost_benchmark(config)
    if name not in evaluation["benchmarks"]:
        raise unknown("cost.benchmark", name, evaluation["benchmarks"])
    role = evaluation["role"]
    samples = read_samples(paths.samples(role, name), role, name)[: section["samples"]]
    if not samples:
        raise InputError(f"cost: benchmark {name!r} has no samples to measure on.")
    vlm = load_for(config, vision=True)
    bench = benchmark_named(config, name)
    pruners = cost_pruners(config, paths, vlm)
    protocol, preprocessing = config["generation"]["protocol"], config["preprocessing"]
    inputs = [sample_inputs(vlm, bench, protocol, preprocessing, sample) for sample in samples]
    length = section["max_new_tokens"]
    for _ in range(section["warmup"]):
        for pruner in pruners.values():
            generate_by_phase(vlm, inputs[0], pruner, length, fixed_length=True)
    rows = []
    for repeat in progress(range(section["repeats"]), f"cost on {name}"):
        phases_by_condition: dict[tuple[str, str], list[Phases]] = {key: [] for key in pruners}
        for number, tensors in enumerate(inputs):
            # Another order for every sample: what runs after what must not decide.
            start = (number + repeat) % len(pruners)
            order = [*pruners][start:] + [*pruners][:start]
            for key in order:
                phases, *_ = generate_by_phase(vlm, tensors, pruners[key], length, fixed_length=True)
                phases_by_condition[key].append(phases)
        rows += [_row(*key, repeat, phases) for key, phases in phases_by_condition.items()]
    settings = {
        "model": dict(vlm.source),
        "device": hardware_name(vlm.model.device),
        "threads": config["model"]["threads"],
        "cost": dict(section),
        "samples": len(samples),
        "preprocessing": dict(config["preprocessing"]),
        "rules": comparison_rules(config),
        "variants": {one["name"]: one for one in evaluation["variants"]},
        "pruners": {f"{variant} {ratio}": repr(p) for (variant, ratio), p in pruners.items()},
    }
    write_table(paths.cost(), rows, COST, provenance({"table": "cost", "benchmark": name}, **settings))


def cost_pruners(
    config: Mapping[str, Any], paths: RunPaths, vlm: VisionLanguageModel
) -> dict[tuple[str, str], Pruner | None]:
    """(variant, ratio) → its pruner; the unpruned model first."""
    wanted = config["cost"]["variants"]
    variants = config["evaluation"]["variants"]
    names = [variant["name"] for variant in variants]
    for name in wanted or ():
        if name not in names:
            raise unknown("variant in cost.variants", name, names)
    of_one_layer = [one["name"] for one in config["weights"]["recipes"] if not chooses_layer(one)]
    pruners: dict[tuple[str, str], Pruner | None] = {(UNPRUNED, "0"): None}
    for variant in variants:
        if wanted is not None and variant["name"] not in wanted:
            continue
        if facts(variant["method"]).other_images:
            log.info("cost: %s is left out; it takes other images", variant["name"])
            continue
        if any_fact(variant, "uses_relevant"):
            log.info("cost: %s is left out; it needs to know where the asked object is", variant["name"])
            continue
        source = weight_source(variant)
        weights = paths.head_weights(source) if source in own_weights(config) else None
        for ratio in map(ratio_text, config["cost"]["ratios"] or config["evaluation"]["ratios"]):
            pruners[variant["name"], ratio] = build(
                config, with_uniform(variant, of_one_layer), ratio, 0, vlm.geometry, weights
            )
    return pruners


def _row(variant: str, ratio: str, repeat: int, phases: Sequence[Phases]) -> dict[str, Any]:
    means = {
        field.name: sum(getattr(phase, field.name) for phase in phases) / len(phases)
        for field in fields(Phases)
    }
    row: dict[str, Any] = {"variant": variant, "pruning_ratio": ratio, "repeat": repeat}
    for field in COST:
        if field.name not in row:
            value = means[field.name]
            row[field.name] = value if field.type == "double" else round(value)
    row["peak_memory_bytes"] = max(phase.peak_memory_bytes for phase in phases)
    return row
