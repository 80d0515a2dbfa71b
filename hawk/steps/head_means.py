"""The step head_means: the mean input of every head's o_proj slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hawk.ablation.ablate_heads import record_head_means
from hawk.benchmarks import benchmark
from hawk.benchmarks.samples import read_samples
from hawk.core.atomic import atomic_path
from hawk.inference.prompts import Prompts
from hawk.steps.session import features_for, load_for


@torch.inference_mode()
def head_means_step(
    config: Mapping[str, Any], name: str, samples_path: str, features_path: str | None, output: str
) -> None:
    """Mean input of ``o_proj`` over the calibration prompts, per layer: what ``mean`` puts in."""
    from safetensors.torch import save_file

    from hawk.inference.scoring import batches
    from hawk.pruning.methods.unpruned import Unpruned
    from hawk.pruning.prompt import prune

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
