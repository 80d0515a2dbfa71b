"""``hawk export scorer``: ``Hawk(query="calibrated")`` as one matrix on the visual embeddings.

For a serving engine, which prunes behind its vision encoder and knows no text there. With the mean query q̄_i
of head i, its group's key weight W and bias b, and the weight g and eps of the layer's RMSNorm,

    a_i(v) = q̄_i · (W (g * v / rms(v)) + b) / sqrt(d) = directions_i · v / rms(v) + constants_i

and the score is the weighted sum of a_i, normalized per head over the prompt's visual tokens. The file is
safetensors: ``directions`` [heads, hidden], ``constants`` [heads] and ``weights`` [heads], whose sizes sum to
1, in float32. Its metadata holds ``eps``, ``normalization``, ``reference`` (the text of
:mod:`hawk.tools.scorer_reference`: how to score with it, in numpy) and ``hawk`` (provenance, JSON).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hawk.core.atomic import atomic_path
from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.provenance import provenance
from hawk.core.variants import require_calibrated_query
from hawk.models.base import VisionLanguageModel
from hawk.models.projections import plain
from hawk.tools import scorer_reference


def token_score_of(weights: HeadWeights) -> dict[str, Any]:
    """Their token score; InputError for weights that no scorer can be made of, whatever the model."""
    score = {"normalization": "l2", "rope": False, "reduction": "mean", **weights.token_score}
    require_calibrated_query(weights.mean_query is not None, score["rope"], score["reduction"])
    if weights.layer != 0:
        raise InputError(
            f"export scorer: these weights are of layer {weights.layer}; visual embeddings enter layer 0."
        )
    return score


@torch.inference_mode()
def export_scorer(weights: HeadWeights, vlm: VisionLanguageModel, output: str) -> None:
    """Write the scorer of head weights with a mean query; the token score is that of the weights.

    Raises InputError for weights without a mean query, of another model, or of a layer above 0; and for a
    model whose keys are not linear in its normalized embeddings (a norm of their own, adapters, quantized).
    """
    score = token_score_of(weights)
    weights.check(vlm.geometry, vlm.family.name)
    layer = vlm.family.scoring_layer(vlm.model, 0)
    if layer.k_norm is not None:
        raise InputError(
            f"export scorer: keys of {vlm.family.name} models have a norm of their own, so their scores are "
            "no matrix on the visual embeddings; Hawk(query='calibrated') takes them."
        )
    if not plain(layer.k_proj, layer.k_proj.weight):
        raise InputError("export scorer: the key projection of layer 0 is adapted or quantized.")
    gain, eps = _rms_norm(layer.norm, layer.k_proj.weight)
    query = torch.tensor(weights.mean_query, dtype=torch.float64) / layer.head_dim**0.5
    group = torch.arange(layer.heads) // (layer.heads // layer.kv_heads)  # the key head of every query head
    shape = (layer.kv_heads, layer.head_dim)
    keys = layer.k_proj.weight.double().cpu().view(*shape, -1)
    bias = layer.k_proj.bias
    offsets = torch.zeros(shape, dtype=torch.float64) if bias is None else bias.double().cpu().view(shape)
    shares = torch.tensor(weights.weights, dtype=torch.float64)
    tensors = {
        "directions": torch.stack([q @ keys[g] for q, g in zip(query, group, strict=True)]) * gain,
        "constants": (query * offsets[group]).sum(-1),
        "weights": shares / shares.abs().sum(),
    }
    made_by = provenance(
        {"file": "scorer", "format": "1"},
        model={**vlm.source, "family": vlm.family.name},
        geometry=asdict(weights.geometry),
        weights={"intervention": weights.intervention, "provenance": dict(weights.provenance)},
    )
    metadata = {
        "eps": repr(eps),
        "normalization": str(score["normalization"]),
        "reference": Path(scorer_reference.__file__).read_text(encoding="utf-8"),
        "hawk": json.dumps(made_by, sort_keys=True),
    }
    with atomic_path(output) as temporary:
        save_file({name: value.float().contiguous() for name, value in tensors.items()}, temporary, metadata)


def _rms_norm(norm: nn.Module, like: Tensor) -> tuple[Tensor, float]:
    """Weight, [hidden] in float64, and eps of an RMSNorm; another norm is refused."""
    eps = getattr(norm, "variance_epsilon", None)
    if eps is not None:
        gain = norm.weight.double().cpu()
        states = torch.randn(2, len(gain), generator=torch.Generator().manual_seed(0)) * eps**0.5
        expected = gain * states / (states.double().pow(2).mean(-1, keepdim=True) + eps).sqrt()
        if torch.allclose(norm(states.to(like)).double().cpu(), expected, rtol=0.05, atol=1e-3):
            return gain, float(eps)
    raise InputError(f"export scorer: the norm of layer 0 ({type(norm).__name__}) is no RMSNorm.")
