"""Optimizer and learning rate, the same for both stages."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

REPORT_EVERY = 100  # steps; a report costs as much as two or three


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter],
    rate: float,
    steps: int,
    warm_up: int = 100,
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW that warms up, holds the rate for half of the steps, then falls along a cosine."""

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        hold = max(warm_up, steps // 2)
        progress = max(0.0, (step - hold) / max(1, steps - hold))
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
