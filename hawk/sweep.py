"""The steps that score calibration samples: the baseline, each intervention's reference and repeats,
and one file per ablated head. One function for all, so that they cannot drift apart.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from hawk.ablation import MODES, AblateHeads, record_head_means
from hawk.benchmarks import benchmark
from hawk.config import TOKEN_SCORE
from hawk.errors import InputError, unknown
from hawk.heads import Head
from hawk.models.base import VisionLanguageModel
from hawk.provenance import provenance
from hawk.pruning.base import Pruner
from hawk.pruning.hawk import Hawk
from hawk.records import SCORES, asked_of, atomic_path, write_table
from hawk.samples import read_samples
from hawk.scoring import Prompts, features_for, load_for, score_samples
from hawk.sweep_layers import score_layer
from hawk.sweep_rows import groups, score_rows
from hawk.weights import HeadWeights

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


def selection_pruner(config: Mapping[str, Any], vlm: VisionLanguageModel, without: Head | None) -> Pruner:
    """Uniform weights over all heads of the scoring layer, or over all but one.

    The model is untouched: the drop tells how much a head helps to choose tokens.
    """
    scoring, geometry = config["scoring"], vlm.geometry
    weights = [1.0] * geometry.heads
    if without is not None:
        if without.layer != scoring["layer"]:
            raise InputError(
                f"intervention 'selection' exists only at scoring.layer {scoring['layer']}, "
                f"not for {without}."
            )
        weights[without.index] = 0.0
    total = sum(weights)
    return Hawk(
        pruning_ratio=config["ablation"]["selection_ratio"],
        weights=HeadWeights(tuple(w / total for w in weights), geometry, layer=scoring["layer"]),
        **token_score_options(scoring),
    )


def token_score_options(scoring: Mapping[str, Any]) -> dict[str, Any]:
    """The config's ``scoring`` section as options of :class:`hawk.Hawk`."""
    return {
        "token_score_normalization": scoring["normalization"],
        "rope": scoring["rope"],
        "query_span": scoring["query_span"],
    }


def common_settings(
    config: Mapping[str, Any], vlm: VisionLanguageModel, bench: Any, pruner: Pruner | None
) -> dict[str, Any]:
    """What every score file says about how it was made."""
    scoring, device = config.get("scoring", {}), vlm.model.device
    return {
        "model": {**vlm.source, "family": vlm.family.name},
        "geometry": asdict(vlm.geometry),
        "device": str(device),
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": config["model"]["threads"],
        "benchmark_version": bench.version,
        "protocol": config["generation"]["protocol"],
        "batch_size": config["generation"]["batch_size"],
        "preprocessing": config["preprocessing"],
        "token_score": {key: scoring[key] for key in TOKEN_SCORE if key in scoring},
        "pruner": None if pruner is None else repr(pruner),
        "seed": config["seed"],
    }


@torch.inference_mode()
def head_means_step(
    config: Mapping[str, Any], name: str, samples_path: str, features_path: str | None, output: str
) -> None:
    """Mean input of ``o_proj`` over the calibration prompts, per layer: what ``mean`` puts in."""
    from safetensors.torch import save_file

    from hawk.pruning.controls import Unpruned
    from hawk.pruning.prompt import prune
    from hawk.scoring import batches

    samples = read_samples(samples_path, "calibration", name, images=features_path is None)
    vlm = load_for(config, vision=features_path is None)
    bench = benchmark(name, config.get("data", {}).get(name))
    features = features_for(config, vlm, samples, features_path)
    prompts = Prompts(vlm, bench, samples, features, config["generation"]["protocol"])
    mask: list[torch.Tensor] = [torch.empty(0)]
    layers = range(vlm.geometry.layers)  # all: another choice of layers needs no other file
    with record_head_means(vlm.model, vlm.family, layers, mask) as means:
        for chosen in batches([*map(len, prompts.ids)], config["generation"]["batch_size"]):
            prompt = prune(Unpruned(), vlm.model, vlm.family, prompts.inputs(chosen))
            mask[0] = prompt.attention_mask
            vlm.model(**prompt.kwargs(), use_cache=True, logits_to_keep=1)
    with atomic_path(output) as temporary:
        save_file({f"layer{layer}": value for layer, value in means.items()}, temporary)


def read_means(path: str) -> dict[int, torch.Tensor]:
    from safetensors.torch import load_file

    return {int(key.removeprefix("layer")): value for key, value in load_file(path).items()}
