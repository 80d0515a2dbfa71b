"""Numbers of patches that go through a merging tower as its tokens do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hawk.models.hooks import Hooks

# Families whose tower has a module ``merger`` that makes one token of adjacent patches.
MERGERS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def carry(hooks: Hooks, tower: nn.Module, measured: list[Tensor], seen: list[Tensor]) -> None:
    """Bring what another hook puts in ``measured``, [tokens, ...], from the merger's order to the tokens'.

    Qwen2.5-VL permutes patches into windows and its merged tokens back. The numbers go the same way by
    themselves: they ride through as further columns of the merger's output. One tensor per run of the tower
    is appended to ``seen``.
    """
    shapes: list[torch.Size] = []

    def load(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        numbers = measured.pop()
        shapes[:] = [numbers.shape]
        return torch.cat([output.float(), numbers.reshape(len(output), -1)], dim=-1)

    def unload(module: nn.Module, args: Any, output: Any) -> Any:
        columns = shapes[0][1:].numel()
        seen.append(output.pooler_output[:, -columns:].reshape(shapes[0]))
        output.pooler_output = output.pooler_output[:, :-columns].to(output.last_hidden_state.dtype)
        return output

    hooks.after(tower.merger, load)
    hooks.after(tower, unload)
