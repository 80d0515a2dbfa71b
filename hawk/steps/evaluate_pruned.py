"""The step evaluate_pruned: one benchmark and variant, all ratios and seeds, model loaded once."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hawk.benchmarks.samples import groups_hash
from hawk.config.queries import variant_named, weights_subset
from hawk.core.errors import InputError
from hawk.core.files import read_table, write_table
from hawk.core.head_weights import HeadWeights
from hawk.core.paths import RunPaths
from hawk.core.provenance import provenance
from hawk.core.schemas import EVALUATION, SAMPLES
from hawk.core.variants import COMPARISON_KEYS, weight_source
from hawk.inference.prompts import Prompts
from hawk.pruning.budget import ratio_text
from hawk.pruning.measured_on import warn_of_another_model
from hawk.pruning.options import any_fact, facts
from hawk.steps.session import Session
from hawk.steps.variants import build, needs_tower, token_score_of, weights_sha256

log = logging.getLogger(__name__)


READS = (
    "seed",
    "model",
    "preprocessing",
    "features",
    "generation",
    "scoring",
    "weights.recipes",
    "calibration.holdout",
    "evaluation.ratios",
    "evaluation.rounding",
    "evaluation.budget",
    "evaluation.position_policy",
    "evaluation.role",
    "evaluation.variants",
    "data.{benchmark}",
)


def open_session(config: Mapping[str, Any], paths: RunPaths, benchmark: str, variant: str) -> Session:
    """The evaluation samples for a variant.

    A method that looks into the vision tower runs it; one that is told where objects are needs the images,
    whose sizes their boxes refer to.
    """
    chosen = variant_named(config, variant)
    tower, pixels = needs_tower(chosen), any_fact(chosen, "uses_relevant")
    return Session.open(config, paths, benchmark, config["evaluation"]["role"], tower=tower, pixels=pixels)


def evaluate_pruned(session: Session, variant_name: str) -> None:
    """Score the evaluation samples under a variant and write ``evaluation/{benchmark}/{variant}``."""
    config, paths, name = session.config, session.paths, session.name
    variant = variant_named(config, variant_name)
    method = facts(variant["method"])
    subset = weights_subset(config, variant, name)
    weights_path = None if subset is None else paths.head_weights(*subset)
    source = weights_path or weight_source(variant)
    if source not in (None, "uniform"):
        refuse_overlap(session, source, is_path=weights_path is not None)
    prompts: Prompts | None = None
    every: list[dict[str, Any]] = []
    pruners: dict[str, str] = {}
    weights: dict[int, str | None] = {}  # seed → the sha256 of its weights
    done: list[dict[str, Any]] | None = None
    for ratio in map(ratio_text, config["evaluation"]["ratios"]):
        for seed in range(variant.get("seeds", 1)):
            pruner = build(config, variant, ratio, seed, session.vlm.geometry, weights_path)
            if not pruners:
                warn_of_another_model(pruner, session.vlm.source["id"])
            pruners[f"{ratio}:{seed}"] = repr(pruner)
            if weights.setdefault(seed, weights_sha256(pruner)) != weights_sha256(pruner):
                raise InputError(f"{source}: the weights were changed while {variant_name!r} was evaluated.")
            if prompts is None or method.other_images:
                prompts = session.prompts_for(pruner)
            if done is None or not method.ratio_free:
                done = session.score(
                    prompts,
                    pruner=pruner,
                    queries=other_questions(prompts, seed, name) if variant.get("shuffle_query") else None,
                    what=f"{name} {variant_name} at {ratio}, seed {seed}",
                )
            every += [{**row, "pruning_ratio": ratio, "seed": seed} for row in done]
    settings = {
        **session.settings(),
        "token_score": token_score_of(pruner),
        "weights": None if weights[0] is None else {"source": _named(subset, source), "sha256": weights[0]},
        "scoring": dict(config["scoring"]),
        "variant": variant,
        "pruner": pruners,
        "prompts": None if prompts is None else prompts.sha256,
        "rules": {key: getattr(pruner, key) for key in COMPARISON_KEYS},
    }
    identity = {"benchmark": name, "variant": variant_name, "role": session.role}
    write_table(paths.evaluation(name, variant_name), every, EVALUATION, provenance(identity, **settings))


def _named(subset: tuple[str, str] | None, source: Any) -> str:
    """Head weights by the name that the same ones have on every benchmark."""
    return str(source or "uniform") if subset is None else "/".join(subset)


def refuse_overlap(session: Session, source: str, is_path: bool) -> None:
    """No image may have served calibration of the weights and be evaluated, unless asked for.

    own: whether this run made the weights. A file from elsewhere tells only a hash of its calibration
    images; they are known if they are this run's.
    """
    if session.config["calibration"]["holdout"] == "none":
        return
    weights, paths, samples = HeadWeights.load(source), session.paths, session.samples
    groups: set[str] = set()
    for name in weights.samples:
        path = paths.samples("calibration", name)
        if is_path or Path(path).is_file():
            table = read_table(path, SAMPLES, {"role": "calibration", "benchmark": name}, ["group_id"])
            groups |= set(table.column("group_id").to_pylist())
    if not is_path and groups_hash(groups) != weights.calibration_groups:
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
