"""From a device to the CPU, and back, with as few waits as can be.

Whatever the CPU reads of a GPU it waits for: all that was asked of the GPU before comes first. So what
the CPU needs of a prompt comes at once, is worked on there, and goes back without waiting.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Index = slice | np.ndarray  # ascending places; a slice where they are one run


def fetch(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Integers or bools on the CPU, each with its shape and dtype; those elsewhere come in one wait."""
    far = [t for t in tensors if t.device.type != "cpu"]
    if not far:
        return list(tensors)
    together = torch.cat([t.to(far[0].device, torch.long).flatten() for t in far]).cpu()
    parts = iter(together.split([t.numel() for t in far]))
    return [t if t.device.type == "cpu" else next(parts).view(t.shape).to(t.dtype) for t in tensors]


def send(value: Tensor, device: torch.device) -> Tensor:
    """A copy on ``device`` for which the CPU does not wait; itself if it is there."""
    if value.device == device:
        return value
    return value.to(device, non_blocking=device.type != "cpu")  # what goes to the CPU must have come


def as_run(index: np.ndarray) -> Index:
    """``index``, ascending, as a slice if it is one run."""
    if len(index) and index[-1] - index[0] + 1 == len(index):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def take(values: Tensor, index: Tensor) -> Tensor:
    """values[index] for an ascending index on the CPU; a view, which costs nothing, where it is one run."""
    run = as_run(index.numpy())
    return values[run] if isinstance(run, slice) else values[send(index, values.device)]
