"""The steps that score calibration samples: the baseline, each intervention's reference and repeats,
and one file per ablated head. One function for all, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hawk.ablation.ablate_heads import MODES, AblateHeads, read_means
from hawk.ablation.batched_heads import groups, score_rows
from hawk.ablation.selection import selection_pruner
from hawk.ablation.shared_layers import score_layer
from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import read_samples
from hawk.core.errors import unknown
from hawk.core.files import asked_of, write_table
from hawk.core.heads import Head
from hawk.core.provenance import provenance
from hawk.core.schemas import SCORES
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import score_samples
from hawk.models.base import VisionLanguageModel
from hawk.pruning.base import Pruner
from hawk.steps.session import common_settings, features_for, load_for

INTERVENTIONS = (*MODES, "selection")


def score_step(
    config: Mapping[str, Any],
    name: str,
    role: str,
    samples_path: str,
    features_path: str | None,
    jobs: Sequence[tuple[str, str]],
    intervention: str | None = None,
    means_path: str | None = None,
) -> None:
    """Score one benchmark for every (what, output) of ``jobs``, with the model loaded once.

    ``what`` is "reference", "repeat1" ... or a head such as "L0H17". Without an intervention the
    untouched model is scored ("baseline"). Every output is one file, the same whether its job ran
    alone or with others.
    """
    if intervention is not None and intervention not in INTERVENTIONS:
        raise unknown("intervention", intervention, INTERVENTIONS)
    samples = read_samples(samples_path, role, name, images=features_path is None)
    asked = asked_of(samples_path, role, name)
    vlm = load_for(config, vision=features_path is None)
    for what, _ in jobs:
        if _is_head(what):
            vlm.geometry.check(Head.parse(what))
    bench = benchmark(name, config.get("data", {}).get(name))
    generation = config["generation"]
    features = features_for(config, vlm, samples, features_path)
    prompts = Prompts(vlm, bench, samples, features, generation["protocol"])
    means = None if means_path is None else read_means(means_path)
    size = config.get("ablation", {}).get("rows_per_batch", 1) if intervention in MODES else 1
    # Heads of one layer share what lies below it. For "selection" every head is another prompt.
    shared = size == 1 and intervention in MODES
    for group in groups(jobs, 0 if shared else size):
        names = [what for what, _ in group]
        label = f"{name} {intervention or 'baseline'} {names[0]}" + (f" to {names[-1]}" if names[1:] else "")
        shuffle = int(names[0].removeprefix("repeat")) if names[0].startswith("repeat") else None
        pruner = None
        options = (prompts, bench, generation["protocol"], generation["batch_size"])
        if size > 1 and intervention is not None:
            in_rows = [Head.parse(what) if _is_head(what) else None for what in names]
            scored = score_rows(*options, in_rows, size, intervention, means, shuffle=shuffle, what=label)
        elif len(group) > 1 and intervention is not None:
            heads = [Head.parse(what) for what in names]
            scored = score_layer(*options, heads, intervention, means, what=label)
        else:
            pruner, ablation = _treatment(config, vlm, intervention, names[0], means)
            attached = None if ablation is None else ablation.attach(vlm.model)
            scored = [score_samples(*options, pruner, attached, shuffle=shuffle, what=label)]
        settings = {**common_settings(config, vlm, bench, pruner), **asked, "prompts": prompts.sha256}
        if size > 1:
            settings["rows_per_batch"] = size
        if intervention == "selection":
            settings["selection_ratio"] = config["ablation"]["selection_ratio"]
        for (what, output), rows in zip(group, scored, strict=True):
            identity = {"benchmark": name, "role": role, "name": what}
            if intervention is not None:
                identity["intervention"] = intervention
            if _is_head(what):
                identity["head"] = what
            write_table(output, rows, SCORES, provenance(identity, **settings))


def _is_head(what: str) -> bool:
    return what.startswith("L") and what[1:2].isdigit()


def _treatment(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    intervention: str | None,
    what: str,
    means: Mapping[int, torch.Tensor] | None,
) -> tuple[Pruner | None, AblateHeads | None]:
    """What is done to the model or the prompt in one job."""
    head = Head.parse(what) if _is_head(what) else None
    if intervention == "selection":
        return selection_pruner(config, vlm, head), None
    if head is None or intervention is None:
        return None, None
    return None, AblateHeads([head], mode=intervention, means=means)
