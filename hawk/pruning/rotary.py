"""Rotary positions, by the cos and sin that the model itself computed."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [..., tokens, heads, d] by [..., tokens, d]; the two halves of d are the pairs."""
    first, second = values.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return values * cos.unsqueeze(-2) + turned * sin.unsqueeze(-2)
