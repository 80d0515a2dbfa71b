"""A batch of unpruned prompts, taken apart into text and visual items.

Bookkeeping on a few thousand integers per prompt: in numpy, whose calls cost a fraction of torch's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.models.base import MODALITIES, Family, VisualItem
from hawk.pruning.fetch import Index, as_run


@dataclass(frozen=True)
class Row:
    """One unpruned prompt without its padding: T tokens, n of them visual; all but features on the CPU.

    The visual tokens of an item are adjacent among all visual tokens, in the order of ``items``.
    """

    ids: np.ndarray  # [T]
    positions: np.ndarray  # [rows, T]
    items: list[VisualItem]  # in prompt order
    visual: np.ndarray  # [n] where the visual tokens stand, ascending
    item_of: np.ndarray  # [T] index into items, -1 for text
    padding_id: int  # what fills up a shorter row


@dataclass
class Rows:
    """The unpruned batch, taken apart; all but the items' features lies on the CPU.

    device: where those are, and what the model gets. columns: of every row, those that are no padding.
    """

    ids: Tensor  # [batch, T]
    mask: Tensor  # bool [batch, T]
    positions: Tensor  # [rows, batch, T]
    rows: list[Row]
    columns: list[Index]
    device: torch.device

    @property
    def items(self) -> list[list[VisualItem]]:
        return [row.items for row in self.rows]


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
    _check_pixels(family, model.config, inputs)
    # The caller's stored features, or the vision tower of a model split over GPUs, may be elsewhere.
    encoded = {
        modality: [item.to(device) for item in found]
        for modality, found in family.encode(model, inputs).items()
    }
    placed = _places(family.placeholders(model.config), ids.numpy(), mask.numpy(), encoded)
    _check_types(family.placeholders(model.config), inputs)
    positions = family.position_ids(model, {**inputs, "attention_mask": mask.long()})
    positions = positions if positions.ndim == 3 else positions[None]
    columns = [as_run(np.flatnonzero(row)) for row in mask.numpy()]
    rows = [
        _row(ids[i].numpy(), mask[i].numpy(), positions[:, i].numpy(), columns[i], placed[i])
        for i in range(len(ids))
    ]
    return Rows(ids, mask, positions, rows, columns, device)


def _check_pixels(family: Family, config: Any, inputs: Mapping[str, Any]) -> None:
    for name in ("pixel_values", "pixel_values_videos"):
        pixels = inputs.get(name)
        if pixels is None:
            continue
        shape = family.pixel_shape(config)
        fits = pixels.ndim > len(shape) and tuple(pixels.shape[-len(shape) :]) == shape
        if not fits or not pixels.is_floating_point():
            raise InputError(
                f"{name} is a {pixels.dtype} tensor of shape {list(pixels.shape)}; the vision tower takes "
                f"floats of shape [..., {', '.join(map(str, shape))}]."
            )


def _check_types(placeholders: Mapping[str, int], inputs: Mapping[str, Any]) -> None:
    """Positions are made from the ids: other types would be passed over in silence."""
    types, ids = inputs.get("mm_token_type_ids"), inputs["input_ids"]
    if types is None:
        return
    expected = torch.zeros_like(ids)
    for number, modality in enumerate(MODALITIES, 1):
        expected[ids == placeholders.get(modality, -1)] = number
    if not torch.equal(types.to(ids.dtype), expected):
        raise InputError(
            "mm_token_type_ids does not mark the visual tokens of input_ids: 0 is text, 1 image, 2 video."
        )


def _places(
    placeholders: Mapping[str, int],
    ids: np.ndarray,
    mask: np.ndarray,
    encoded: Mapping[str, list[VisualItem]],
) -> list[list[tuple[np.ndarray, VisualItem]]]:
    """Per row its items in prompt order, each with the columns of its tokens."""
    placed: list[list[tuple[np.ndarray, VisualItem]]] = [[] for _ in ids]
    for modality, token in placeholders.items():
        row_of, columns = np.nonzero((ids == token) & mask)  # row-major, as transformers counts them
        modality_items = encoded.get(modality, [])
        total = sum(item.tokens for item in modality_items)
        if total != len(columns):
            raise InputError(
                f"{len(columns)} {modality} placeholders in the prompts, but {total} visual tokens in "
                f"{len(modality_items)} {modality}s."
            )
        end = 0
        for item in modality_items:
            begin, end = end, end + item.tokens
            if item.tokens == 0:
                continue
            if row_of[begin] != row_of[end - 1]:
                raise InputError(f"an {modality}'s placeholders run over the end of prompt {row_of[begin]}.")
            placed[row_of[begin]].append((columns[begin:end], item))
    return [sorted(items, key=lambda entry: int(entry[0][0])) for items in placed]


def _row(
    ids: np.ndarray,
    mask: np.ndarray,
    positions: np.ndarray,
    real: Index,
    placed: list[tuple[np.ndarray, VisualItem]],
) -> Row:
    """ids, mask [width], positions [rows, width], and the items with their columns."""
    item_of = np.full(len(ids), -1)
    for number, (columns, _) in enumerate(placed):
        item_of[columns] = number
    # Never a placeholder, which would be counted, nor an id that the row does not have: penalties on
    # repetition read the ids under a zero mask as well. So its own padding, else its first text token.
    padding = np.flatnonzero(~mask)
    text = padding if len(padding) else np.flatnonzero(item_of < 0)
    item_of = item_of[real]
    visual = np.flatnonzero(item_of >= 0)
    if (np.diff(item_of[visual]) < 0).any():
        raise InputError("an image's or a video's placeholders stand between those of another.")
    return Row(
        ids=ids[real],
        positions=positions[:, real],
        items=[item for _, item in placed],
        visual=visual,
        item_of=item_of,
        padding_id=int(ids[text[0]]),
    )
