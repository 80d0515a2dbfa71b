"""Rotary positions, by the cos and sin that the model itself computed."""

from __future__ import annotations

import torch
from torch import Tensor

from hawk.pruning.context import PruningContext
from hawk.pruning.fetch import send


def rotary(context: PruningContext, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of the model's own rotary embedding at the unpruned prompt's positions, [T, d]."""
    positions = context.positions
    # Row 0 of mRoPE positions is the text row; the rotary embedding takes the others.
    positions = send(positions[1:, None] if len(positions) > 1 else positions, hidden.device)
    cos, sin = context.family.decoder(context.model).rotary_emb(hidden[None], positions)
    cos, sin = (part.reshape(-1, part.shape[-1]).to(hidden.device) for part in (cos, sin))
    return cos, sin


def rotate(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [..., tokens, heads, d] by [..., tokens, d]; the two halves of d are the pairs."""
    first, second = values.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return values * cos.unsqueeze(-2) + turned * sin.unsqueeze(-2)
