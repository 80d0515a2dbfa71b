"""A batch of unpruned prompts, taken apart into text and visual items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import Family, VisualItem


@dataclass
class Rows:
    """The unpruned batch, taken apart; all but the items' features lies on the CPU.

    device: where those are, and what the model gets.
    """

    ids: Tensor  # [batch, T]
    mask: Tensor  # bool [batch, T]
    positions: Tensor  # [rows, batch, T]
    items: list[list[VisualItem]]  # per row, in prompt order
    item_of: Tensor  # [batch, T] index into the row's items, -1 for text
    device: torch.device

    def __post_init__(self) -> None:
        self.real = [row.nonzero().flatten() for row in self.mask]  # columns of a row that are no padding


def take_apart(model: nn.Module, family: Family, inputs: Mapping[str, Any], device: torch.device) -> Rows:
    """Encode the images (or take ``mm_encoder_outputs``) and find every item's tokens.

    inputs: ids, mask, grids and sizes on the CPU. device: where the model takes them.
    """
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    if mask.shape != ids.shape:
        raise InputError(f"attention_mask {list(mask.shape)} does not fit input_ids {list(ids.shape)}.")
    if not mask[:, -1].all():
        raise InputError("a row ends in padding: decoder-only models need left padding to generate.")
    # The caller's stored features, or the vision tower of a model split over GPUs, may be elsewhere.
    encoded = {
        modality: [item.to(device) for item in found]
        for modality, found in family.encode(model, inputs).items()
    }
    items: list[list[VisualItem]] = [[] for _ in ids]
    item_of = torch.full_like(ids, -1)
    starts: list[list[tuple[int, VisualItem]]] = [[] for _ in ids]
    for modality, token in family.placeholders(model.config).items():
        where = ((ids == token) & mask).nonzero()  # row-major, as transformers counts them
        found = encoded.get(modality, [])
        total = sum(item.tokens for item in found)
        if total != len(where):
            raise InputError(
                f"{len(where)} {modality} placeholders in the prompts, but {total} visual tokens in "
                f"{len(found)} {modality}s."
            )
        offset = 0
        for item in found:
            span = where[offset : offset + item.tokens]
            offset += item.tokens
            if item.tokens == 0:
                continue
            row = int(span[0, 0])
            if int(span[-1, 0]) != row:
                raise InputError(f"an {modality}'s placeholders run over the end of prompt {row}.")
            starts[row].append((int(span[0, 1]), item))
            item_of[row, span[:, 1]] = len(starts[row]) - 1
    positions = family.position_ids(model, {**inputs, "attention_mask": mask.long()})
    positions = positions if positions.ndim == 3 else positions[None]
    for row, placed in enumerate(starts):
        order = sorted(range(len(placed)), key=lambda i, at=placed: at[i][0])  # type: ignore[misc]
        items[row] = [placed[i][1] for i in order]
        rank = torch.empty(len(placed), dtype=torch.long)
        rank[torch.tensor(order, dtype=torch.long)] = torch.arange(len(placed))
        visual = item_of[row] >= 0
        item_of[row, visual] = rank[item_of[row, visual]]
    return Rows(ids, mask, positions, items, item_of, device)
