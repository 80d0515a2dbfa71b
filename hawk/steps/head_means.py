"""The step head_means: the mean input of every head's o_proj slice, which the intervention mean puts in."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from hawk.ablation.ablate_heads import record_head_means
from hawk.core.atomic import atomic_path
from hawk.core.provenance import provenance
from hawk.inference.scoring import batches
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import prune
from hawk.steps.session import Session

READS = ("seed", "model", "preprocessing", "features", "generation", "data.{benchmark}")


@torch.inference_mode()
def head_means(session: Session) -> None:
    """Mean input of ``o_proj`` over the calibration prompts, per layer, ``[heads · head_dim]``."""
    vlm, prompts = session.vlm, session.prompts
    mask: list[torch.Tensor] = [torch.empty(0)]
    layers = range(vlm.geometry.layers)  # all: another choice of layers needs no other file
    with record_head_means(vlm.model, vlm.family, layers, mask) as means:
        for chosen in batches([*map(len, prompts.ids)], session.batch_size):
            prompt = prune(Unpruned(), vlm.model, vlm.family, prompts.inputs(chosen))
            mask[0] = prompt.attention_mask
            vlm.model(**prompt.kwargs(), use_cache=True, logits_to_keep=1)
    with atomic_path(session.paths.head_means(session.name)) as temporary:
        block = provenance({"benchmark": session.name, "role": session.role}, **session.settings())
        tensors = {f"layer{layer}": value for layer, value in means.items()}
        save_file(tensors, temporary, metadata={"hawk": json.dumps(block, sort_keys=True)})
