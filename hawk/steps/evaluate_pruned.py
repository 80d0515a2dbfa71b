"""The step evaluate_pruned: one benchmark and variant, all ratios and seeds, model loaded once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hawk.benchmarks import Sample, benchmark
from hawk.benchmarks.samples import groups_hash, read_samples
from hawk.config.queries import COMPARISON_KEYS, WEIGHT_SOURCES, variant_named, weight_source
from hawk.core.errors import InputError
from hawk.core.files import asked_of, read_table, write_table
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.schemas import EVALUATION, SAMPLES
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import score_samples
from hawk.models.base import VisionLanguageModel
from hawk.pruning.base import Pruner
from hawk.pruning.budget import ratio_text
from hawk.steps.session import common_settings, features_for, load_for
from hawk.steps.variants import build, needs_tower

log = logging.getLogger(__name__)


def evaluate_step(
    config: Mapping[str, Any],
    name: str,
    variant_name: str,
    samples_path: str,
    features_path: str | None,
    weights_path: str | None,
    root: str,
    output: str,
) -> None:
    """Score the evaluation samples under a variant and write ``evaluation/{benchmark}/{variant}``."""
    variant = variant_named(config, variant_name)
    role = config["evaluation"]["role"]
    # A method that looks into the vision tower runs it, though features are stored.
    features_path = None if needs_tower(variant) else features_path
    samples = read_samples(samples_path, role, name, images=features_path is None)
    own = weight_source(variant) in WEIGHT_SOURCES
    source = weights_path if own else weight_source(variant)
    if source not in (None, "uniform"):
        refuse_overlap(config, samples, source, root, own)
    vlm = load_for(config, vision=features_path is None)
    bench = benchmark(name, config.get("data", {}).get(name))
    generation = config["generation"]
    prompts: Prompts | None = None
    every: list[dict[str, Any]] = []
    pruners: dict[str, str] = {}
    done: list[dict[str, Any]] | None = None
    for ratio in map(ratio_text, config["evaluation"]["ratios"]):
        for seed in range(variant.get("seeds", 1)):
            pruner = build(config, variant, ratio, seed, vlm.geometry, weights_path)
            if not pruners:
                check_measured_on(pruner, vlm)
            pruners[f"{ratio}:{seed}"] = repr(pruner)
            if prompts is None or variant["method"] == "downscale":  # other images at every ratio
                features = features_for(config, vlm, samples, features_path, pruner)
                prompts = Prompts(vlm, bench, samples, features, generation["protocol"])
            if done is None or variant["method"] != "blind":  # blind does not know the ratio
                done = score_samples(
                    prompts,
                    bench,
                    generation["protocol"],
                    generation["batch_size"],
                    pruner=pruner,
                    queries=other_questions(prompts, seed, name) if variant.get("shuffle_query") else None,
                    what=f"{name} {variant_name} at {ratio}, seed {seed}",
                )
            every += [{**row, "pruning_ratio": ratio, "seed": seed} for row in done]
    settings = {**common_settings(config, vlm, bench, None), **asked_of(samples_path, role, name)}
    settings |= {
        "variant": variant,
        "pruner": pruners,
        "prompts": None if prompts is None else prompts.sha256,
        "rules": {key: getattr(pruner, key) for key in COMPARISON_KEYS},
    }
    identity = {"benchmark": name, "variant": variant_name, "role": role}
    write_table(output, every, EVALUATION, provenance(identity, **settings))


def check_measured_on(pruner: Pruner, vlm: VisionLanguageModel) -> None:
    """Refuse head weights of another model family; say so where they are of another model."""
    for one in (pruner, getattr(pruner, "scorer", None)):
        weights = getattr(one, "weights", None)
        if not isinstance(weights, HeadWeights):
            continue
        family, model = weights.model.get("family"), weights.model.get("id")
        if family not in (None, vlm.family.name):
            raise InputError(
                f"the head weights were measured on a {family!r} model; this one is {vlm.family.name!r}."
            )
        if model not in (None, vlm.source["id"]):
            log.warning("head weights were measured on %s and are used on %s", model, vlm.source["id"])


def refuse_overlap(
    config: Mapping[str, Any], samples: Sequence[Sample], source: str, root: str, own: bool
) -> None:
    """No image may have served calibration of the weights and be evaluated, unless asked for.

    own: whether this run made the weights. A file from elsewhere tells only a hash of its calibration
    images; they are known if they are this run's.
    """
    if config["calibration"]["holdout"] == "none":
        return
    weights, paths = HeadWeights.load(source), RunPaths(root)
    groups: set[str] = set()
    for name in weights.samples:
        path = paths.samples("calibration", name)
        if own or Path(path).is_file():
            table = read_table(path, SAMPLES, {"role": "calibration", "benchmark": name}, ["group_id"])
            groups |= set(table.column("group_id").to_pylist())
    if not own and groups_hash(groups) != weights.calibration_groups:
        log.warning("%s: calibrated on images that are not known here; some may be these", source)
        return
    shared = len(groups & {sample.group_id for sample in samples})
    if shared:
        raise InputError(
            f"{source}: {shared} evaluation images were used to calibrate these weights. Set "
            "calibration.holdout to disjoint, or to none to repeat the paper's leak."
        )


def other_questions(prompts: Prompts, seed: int, name: str) -> list[Any]:
    """For every sample another sample's question, as token ids: the shuffled-query control."""
    import random

    import torch

    tokenizer = prompts.vlm.processor.tokenizer
    questions = [sample.question for sample in prompts.samples]
    if len(set(questions)) == 1:
        raise InputError(
            f"shuffle_query: benchmark {name!r} has no other question to put in: all its {len(questions)} "
            f"are the same, {questions[0]!r}. Leave out the benchmark, or the variant with shuffle_query."
        )
    order = list(range(len(questions)))
    random.Random(seed).shuffle(order)
    out = []
    for i, question in enumerate(questions):
        start = order.index(i)
        turns = (order[(start + step) % len(order)] for step in range(1, len(order)))
        other = next(j for j in turns if questions[j] != question)
        ids = tokenizer(questions[other], add_special_tokens=False)["input_ids"]
        out.append(torch.tensor(ids, device=prompts.vlm.model.device))
    return out
