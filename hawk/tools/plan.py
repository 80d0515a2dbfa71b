"""What a run will cost: jobs, images and scored samples per stage, and if asked for hours and disk."""

from __future__ import annotations

import math
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import SHARES, read_samples
from hawk.config.queries import own_weights, weight_files
from hawk.config.recipes import ESTIMATE, ablated_heads, has_query, layers, measured
from hawk.core.paths import RunPaths
from hawk.steps.prepare_samples import prepare_samples
from hawk.tools import cards
from hawk.tools.cards import Timing
from hawk.tools.grouping import advice, grouping_table, groupings

# A backward pass costs about two forward passes. Counted as scorings, an upper bound: no answer is generated.
SCREEN_PASSES = 3

Count = Callable[[str, str], int]  # (role, benchmark) → samples


@dataclass(frozen=True)
class Stage:
    """One row of the plan. ``images`` pass the vision tower, ``scorings`` are generated and scored."""

    name: str
    jobs: int
    gpu: bool = False
    images: int = 0
    scorings: int = 0
    files: int = 0  # score files
    samples: int = 0  # rows with images, as drawn


def hours(stage: Stage, timing: Timing) -> float:
    """Of all its jobs together."""
    if not stage.gpu:
        return 0.0
    work = stage.images * timing.encode + stage.scorings * timing.score
    return (stage.jobs * timing.start + work) / 3600


def disk(stage: Stage, timing: Timing, stored: bool) -> float:
    """Bytes on disk. A score file has a header of about 6 kB, whatever is in it."""
    features = stage.images * timing.feature_bytes if stored else 0
    rows = stage.scorings * timing.row_bytes + stage.files * 6e3
    return features + stage.samples * timing.sample_bytes + rows


def stages(config: Mapping[str, Any], count: Count) -> list[Stage]:
    """The stages of a run in order. ``count`` says how many samples a role takes of a benchmark."""
    calibration = config["calibration"]["benchmarks"]
    evaluation, role = config["evaluation"]["benchmarks"], config["evaluation"]["role"]
    ablations = measured(config)
    screens = len(config["ablation"]["recipes"]) - len(ablations)
    heads = [len(ablated_heads(config, ablation)) for ablation in ablations]
    per_job = config["ablation"]["heads_per_job"]
    jobs = sum(1 if per_job == "all" else math.ceil(count / per_job) for count in heads)
    drawn = sum(count("calibration", name) for name in calibration)
    evaluated = sum(count(role, name) for name in evaluation)
    sweeps = len(calibration) * len(ablations)
    repeats = config["statistics"]["repeats"]
    variants = config["evaluation"]["variants"]
    runs = len(config["evaluation"]["ratios"]) * sum(variant.get("seeds", 1) for variant in variants)
    roles = len(calibration) + len(evaluation)
    stored = config["features"] == "stored"
    planned = [Stage("samples", roles, samples=drawn + evaluated)]
    if stored:
        planned.append(Stage("features", roles, gpu=True, images=drawn + evaluated))
    if any(ablation["intervention"] == "mean" for ablation in ablations):
        planned.append(Stage("head means", len(calibration), gpu=True, scorings=drawn))
    queries = [name for name in own_weights(config) if has_query(config, name)]
    if queries:
        planned.append(
            Stage("mean queries", len(calibration) * len(queries), gpu=True, scorings=drawn * len(queries))
        )
    if screens:
        passes = SCREEN_PASSES * drawn * screens
        planned.append(_scores("screening", len(calibration) * screens, passes, stored))
    planned += [
        _scores("reference", sweeps, drawn * len(ablations), stored),
        _scores("repeats", sweeps * repeats, drawn * len(ablations) * repeats, stored),
        _scores(
            "ablation", len(calibration) * jobs, drawn * sum(heads), stored, len(calibration) * sum(heads),
        ),
        _scores("baseline", len(evaluation), evaluated, stored),
        _scores("evaluation", len(evaluation) * len(variants), evaluated * runs, stored),
        # drops, weights, tables, figures, kept tokens, report; cost has a table and a figure
        Stage(
            "weights, tables, report",
            4 + len(ablations) + screens + len(weight_files(config)) + 2 * config["cost"]["measure"],
        ),
    ]  # fmt: skip
    if config["cost"]["measure"]:
        planned.append(_cost(config))
    return planned


def _cost(config: Mapping[str, Any]) -> Stage:
    """Its time in the vision tower is not counted: a small part, and ``images`` stand for stored ones."""
    cost, evaluation = config["cost"], config["evaluation"]
    variants = cost["variants"] or evaluation["variants"]
    pruners = 1 + len(variants) * len(cost["ratios"] or evaluation["ratios"])
    calls = pruners * (cost["samples"] * cost["repeats"] + cost["warmup"])
    return Stage("measured cost", 1, gpu=True, scorings=calls)


def _scores(name: str, jobs: int, scorings: int, stored: bool, files: int | None = None) -> Stage:
    images = 0 if stored else scorings  # without stored features the vision tower runs every time
    return Stage(name, jobs, True, images, scorings, jobs if files is None else files)


def plan(
    config: Mapping[str, Any], samples: int = 0, card: str | None = None, parameters: float | None = None
) -> str:
    """The plan of a run as text: arithmetic on its config, or with a timing of a few samples on this machine.

    With ``samples`` 0 no model is loaded, nothing is downloaded and no GPU is needed. card: hours and disk as
    estimated for a card (:mod:`hawk.tools.cards`); parameters of the model if its name does not say them.
    """
    count = counted(config)
    planned = stages(config, count)
    stored = config["features"] == "stored"
    if samples:
        timing = measure(config, samples)
        remarks = [*_remarks(config, planned, timing)]
    elif card is not None:
        size = parameters or cards.parameters_of(config)
        timing = cards.estimated(config, card, size)
        remarks = [cards.assumptions(config, card, size)]
    else:
        return "\n\n".join([table(planned, None, False), *map(_paragraph, _screening(config)), _paragraph(
            "Counted from the config and the published sizes of its benchmarks. Hours and disk: --card h100, "
            "an estimate, or --measure 8, which times 8 samples on this machine, with the model loaded."
        )])  # fmt: skip
    parts = [table(planned, timing, stored), *map(_paragraph, [*_screening(config), *remarks])]
    if any(len(ablated_heads(config, ablation)) > 1 for ablation in measured(config)):
        choices = groupings(config, count, timing)
        parts += [grouping_table(choices), _paragraph(advice(choices))]
    return "\n\n".join(parts)


def _screening(config: Mapping[str, Any]) -> list[str]:
    """What estimating heads saves against switching each off."""
    words = []
    for ablation in config["ablation"]["recipes"]:
        if ablation["intervention"] == ESTIMATE:
            of, heads = len(layers(ablation)), config["model"]["heads"]
            words.append(
                f"{ablation['name']}: {of} x {heads} = {of * heads} heads are estimated for about "
                f"{SCREEN_PASSES} forward passes a sample (one forward, one backward); switching each off "
                f"would take {of * heads}."
            )
    return words


def _remarks(config: Mapping[str, Any], planned: list[Stage], timing: Timing) -> list[str]:
    words = [
        f"Timed on {timing.device}: {timing.start:.0f} s to start a job, {timing.encode * 1e3:.0f} ms per "
        f"image, {timing.score * 1e3:.0f} ms per scored sample. Pruned samples count like whole ones, and "
        "every image as distinct: an upper bound."
    ]
    per_job = config["ablation"]["heads_per_job"]
    ablation = next(stage for stage in planned if stage.name == "ablation")
    total = hours(ablation, timing)
    starts = ablation.jobs * timing.start / 3600 / total if total else 0.0
    if starts > 0.2 and per_job != "all":
        words.append(
            f"{starts:.0%} of the ablation is starting jobs; a larger ablation.heads_per_job (now "
            f"{per_job}) saves most of it and changes no result."
        )
    return words


def counted(config: Mapping[str, Any]) -> Count:
    """Samples per role and benchmark: as prepared already, else what the config asks for of what there is.

    Benchmarks on a hub count with their published size, so that nothing is downloaded; shares of images stand
    for those of questions.
    """
    paths = RunPaths(f"outputs/{config['run']}")
    disjoint = config["calibration"]["holdout"] == "disjoint"

    def count(role: str, name: str) -> int:
        prepared = Path(paths.samples(role, name))
        if prepared.is_file():
            return pq.read_metadata(prepared).num_rows
        wanted = config["calibration" if role == "calibration" else "evaluation"]["samples"]
        bench = benchmark(name, config["data"].get(name))
        rows = getattr(bench, "published_rows", None)
        if rows is None and wanted is not None:
            return wanted
        if rows is None:  # ships with hawk, or is a table of the user's
            rows = sum(1 for _ in bench.load())
        there = round(rows * SHARES[role]) if disjoint else rows
        return there if wanted is None else min(wanted, there)

    return count


def measure(config: Mapping[str, Any], samples: int) -> Timing:
    """Load the model and score a few calibration samples, twice: the first time is a warm-up."""
    import torch

    from hawk.inference.encoding import Recomputed, encode
    from hawk.inference.prompts import Prompts
    from hawk.inference.scoring import score_samples
    from hawk.inference.visual_files import visual_files
    from hawk.steps.session import load_for

    name, generation = config["calibration"]["benchmarks"][0], config["generation"]
    few = {**config, "calibration": {**config["calibration"], "samples": samples}}
    with tempfile.TemporaryDirectory() as folder:
        path = RunPaths(folder).samples("calibration", name)
        prepare_samples(few, RunPaths(folder), "calibration", name)
        drawn = read_samples(path, "calibration", name)
        sample_bytes = Path(path).stat().st_size / len(drawn)
    began = time.perf_counter()
    vlm = load_for(config, vision=True)
    start = time.perf_counter() - began + 5.0  # imports of torch and transformers
    files = {file.key: file for sample in drawn for file in visual_files(vlm.family, sample)}
    encode(vlm, next(iter(files.values())), config["preprocessing"])
    began = time.perf_counter()
    features = Recomputed(vlm, drawn, config["preprocessing"])
    items = [features[key] for key in files]
    encoding = (time.perf_counter() - began) / len(items)
    tensors = [tensor for item in items for tensor in (item.features, *item.levels)]
    bench = benchmark(name, config["data"].get(name))
    prompts = Prompts(vlm, bench, drawn, features, generation["protocol"])
    for _ in range(2):
        began = time.perf_counter()
        score_samples(prompts, generation["batch_size"], what="timing")
        scoring = (time.perf_counter() - began) / len(drawn)
    device = vlm.model.device
    return Timing(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        start=start,
        encode=encoding,
        score=scoring,
        feature_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors) / len(items),
        sample_bytes=sample_bytes,
        row_bytes=40.0,
    )


def table(planned: list[Stage], timing: Timing | None, stored: bool) -> str:
    """The plan as a person reads it; hours and disk only with a timing."""
    unit = "hours" if timing is not None and timing.device == "cpu" else "GPU hours"
    rows = [["stage", "jobs", "images", "scored", *([unit, "disk"] if timing is not None else [])]]
    for stage in planned:
        row = [stage.name, f"{stage.jobs:,}", _count(stage.images), _count(stage.scorings)]
        if timing is not None:
            row += [
                _hours(hours(stage, timing)) if stage.gpu else "",
                _bytes(disk(stage, timing, stored)),
            ]
        rows.append(row)
    total = ["total", f"{sum(stage.jobs for stage in planned):,}"]
    total += [
        _count(sum(stage.images for stage in planned)),
        _count(sum(stage.scorings for stage in planned)),
    ]
    if timing is not None:
        total += [
            _hours(sum(hours(stage, timing) for stage in planned)),
            _bytes(sum(disk(stage, timing, stored) for stage in planned)),
        ]
    rows.append(total)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        (
            row[0].ljust(widths[0])
            + "".join(f"  {cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))
        ).rstrip()
        for row in rows
    )


def _count(value: int) -> str:
    return f"{value:,}" if value else ""


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 79)


def _hours(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.3f}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
