"""From a batch of prompts to the pruned batch that the model's own ``generate`` takes.

Features and positions are made from the *unpruned* prompt by the model's own functions; then the
ids, the mask, the positions and the features of removed tokens are left out. Nothing in the model
is changed. Used by ``attach`` and by the scoring of benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hawk.core import values
from hawk.core.errors import InputError
from hawk.models.base import MODALITIES, Family, VisualItem, by_modality
from hawk.pruning.context import LastRun, PruningContext, Selector
from hawk.pruning.fetch import fetch, send
from hawk.pruning.hidden import HiddenStates
from hawk.pruning.positions import remaining_positions
from hawk.pruning.rows import Row, Rows, take_apart

# Arguments that describe the unpruned prompt's images; none may reach the pruned call.
CONSUMED = (
    "pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw", "image_sizes",
    "mm_token_type_ids", "second_per_grid_ts", "mm_encoder_outputs", "input_ids", "inputs",
    "attention_mask", "position_ids", "batch_num_images", "image_sizes_videos",
    "image_tiled", "video_frames", "observed", "pixel_attention_mask",
)  # fmt: skip

# What the CPU reads to take a prompt apart: integers, and few.
READ = (
    "input_ids", "attention_mask", "image_grid_thw", "video_grid_thw", "image_sizes", "image_tiled",
    "batch_num_images", "video_frames", "mm_token_type_ids",
)  # fmt: skip


@dataclass
class PrunedPrompt:
    """A pruned batch. L is its width, T that of the unpruned one; both are left-padded.

    visual_columns: per row where in ``input_ids`` its remaining visual tokens stand, [kept], on the CPU.
    budget_group: per row the image, tile or frame of each of them, see
        :meth:`hawk.pruning.base.Pruner.groups`; on the CPU.
    last: what happened. A method that works inside the model writes there what it removed, once
        the model has read the prompt; until then everything that enters the model counts as kept.
    """

    family: Family
    input_ids: Tensor  # [batch, L]
    attention_mask: Tensor  # [batch, L]
    position_ids: Tensor  # [rows, batch, L] or [batch, L]
    full_ids: Tensor  # [batch, T]
    features: dict[str, Tensor]  # modality → [kept, hidden], in batch order
    levels: dict[str, tuple[Tensor, ...]]
    prompt_tokens: list[int]
    visual_columns: list[Tensor]
    budget_group: list[Tensor]
    last: LastRun

    @property
    def removed_width(self) -> int:
        return self.full_ids.shape[1] - self.input_ids.shape[1]

    def kwargs(self) -> dict[str, Any]:
        """Arguments for ``model.generate`` or ``model.forward``; fresh feature objects each time."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
            "mm_encoder_outputs": self.family.encoder_outputs(self.features, self.levels),
        }


def prune(
    pruner: Selector,
    model: nn.Module,
    family: Family,
    inputs: Mapping[str, Any],
    keys: Sequence[str] | None = None,
    queries: Sequence[Tensor] | None = None,
    relevant: Sequence[Callable[[], Tensor]] | None = None,
    device: torch.device | None = None,
) -> PrunedPrompt:
    """Select and leave out visual tokens of every row.

    inputs: what a processor gives (ids, mask, pixels, grids), or ids with stored features in
    ``mm_encoder_outputs``, and in ``observed`` what ``Pruner.watch`` saw when they were made,
    one tensor per modality. keys name the samples for seeded pruners; without them the prompt's ids
    do. queries are other samples' question ids (the shuffled-query control). relevant:
    per row a function that tells which visual tokens show what the question asks for, bool [n].
    device: where the pruned prompt goes; None: where the ids are.

    The CPU waits for a GPU twice, whatever the batch: for ids, mask and grids, and for what was chosen
    (once more for the times of videos; a vision tower, and a method, may wait on their own).
    """
    pruner.check(model, family)
    full_ids = inputs["input_ids"].long()
    device = full_ids.device if device is None else device
    inputs = _on_cpu(_as_tensors(inputs))
    with pruner.watch(model, family) as seen:
        rows = take_apart(model, family, inputs, device)
    seen = family.place_observed(model, inputs, seen)
    observed = _observed(seen or inputs.get("observed") or [], rows)
    hidden = HiddenStates(model, family, rows)
    kept_index: list[Tensor] = []
    groups: list[Tensor] = []
    unchecked: list[tuple[Tensor, Callable[[Tensor], object]]] = []
    for number, row in enumerate(rows.rows):
        kept = group = torch.arange(0)
        if row.items:
            context = PruningContext(
                model=model,
                family=family,
                ids=torch.from_numpy(row.ids),
                positions=torch.from_numpy(row.positions),
                items=row.items,
                visual_index=torch.from_numpy(row.visual),
                key=keys[number].encode() if keys is not None else row.ids.tobytes(),
                hidden_at=hidden.row(number),
                projected=hidden.projected(number),
                query_ids=None if queries is None else queries[number],
                relevant=None if relevant is None else relevant[number],
                observed=observed[number],
                unchecked=unchecked,
            )
            if not pruner.inactive:
                _refuse_not_finite(context, keys[number] if keys is not None else str(number))
            kept = pruner.kept_indices(context)
            group = pruner.groups(context)
        kept_index.append(kept)
        groups.append(group)
    kept_index = _chosen(pruner, kept_index, unchecked)
    groups = [group[kept] for group, kept in zip(groups, kept_index, strict=True)]
    return _pack(family, rows, full_ids.to(device), kept_index, groups, pruner.position_policy)


def _as_tensors(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes and grids given as lists become tensors, and ids int64: models take all of these."""
    out = dict(inputs)
    for name in ("image_sizes", "image_grid_thw", "video_grid_thw", "batch_num_images"):
        if isinstance(out.get(name), list | tuple):
            try:
                out[name] = torch.tensor([_numbers(entry) for entry in out[name]])
            except (TypeError, ValueError, RuntimeError):
                raise values.refuse(name, out[name], "a tensor, or rows of equal length") from None
    out["input_ids"] = out["input_ids"].long()
    return out


def _on_cpu(inputs: dict[str, Any]) -> dict[str, Any]:
    """``inputs`` with everything on the CPU that the CPU reads; only what the model computes with is left."""
    out = dict(inputs)
    if out.get("attention_mask") is not None:
        out["attention_mask"] = out["attention_mask"].bool()
    names = [name for name in READ if isinstance(out.get(name), Tensor)]
    out.update(zip(names, fetch([out[name] for name in names]), strict=True))
    if isinstance(out.get("second_per_grid_ts"), Tensor):
        out["second_per_grid_ts"] = out["second_per_grid_ts"].cpu()
    return out


def _chosen(
    pruner: Selector,
    kept_index: Sequence[Tensor],
    unchecked: Sequence[tuple[Tensor, Callable[[Tensor], object]]],
) -> list[Tensor]:
    """What was kept, ascending, on the CPU.

    Raises what refuses the first ``unchecked`` values that are not finite; AssertionError for a token that
    was chosen twice.
    """
    finite = [torch.isfinite(torch.cat([numbers.flatten() for numbers, _ in unchecked]))] if unchecked else []
    fetched = fetch([*kept_index, *finite])
    kept_index = fetched[: len(kept_index)]
    end = 0
    for numbers, refuse in unchecked:
        begin, end = end, end + numbers.numel()
        if not fetched[-1][begin:end].all():
            refuse(numbers)
    kept_index = [torch.from_numpy(np.sort(kept.numpy())) for kept in kept_index]
    for kept in kept_index:
        if (np.diff(kept.numpy()) == 0).any():
            raise AssertionError(f"{pruner!r} chose a token twice: {kept.tolist()}.")
    return kept_index


def _numbers(entry: Any) -> Any:
    return entry.tolist() if hasattr(entry, "tolist") else entry


def _observed(seen: Sequence[Tensor], rows: Rows) -> list[Tensor | None]:
    """Numbers per run of the tower (images, then videos), → numbers per row, in prompt order."""
    if not seen:
        return [None] * len(rows.items)
    modalities = {item.modality for items in rows.items for item in items}
    left = dict(zip([m for m in MODALITIES if m in modalities], seen, strict=True))
    out: list[Tensor | None] = []
    for items in rows.items:
        parts = []
        for item in items:
            part, left[item.modality] = left[item.modality].tensor_split([item.tokens])
            parts.append(part)
        out.append(torch.cat(parts).to(rows.device) if parts else None)
    return out


def _refuse_not_finite(context: PruningContext, name: str) -> None:
    """NaN features would rank somewhere without a word; a sum finds them in one read."""

    def refuse(sums: Tensor) -> None:
        raise InputError(f"sample {name}: its visual features hold NaN or infinity.")

    for item in context.items:
        total = item.features.sum(dtype=torch.float32)
        if total.device.type != "cpu":
            context.unchecked.append((total, refuse))
        elif not math.isfinite(total):
            refuse(total)


def _pack(
    family: Family,
    rows: Rows,
    full_ids: Tensor,
    kept_index: list[Tensor],
    groups: list[Tensor],
    position_policy: str,
) -> PrunedPrompt:
    """Left-pad what remains of every row to one width and gather the features of kept tokens."""
    keeps = [_keep(row, kept.numpy()) for row, kept in zip(rows.rows, kept_index, strict=True)]
    batch, device = len(keeps), rows.device
    lengths = [int(keep.sum()) for keep in keeps]
    width = max(lengths)
    ids = np.empty((batch, width), dtype=np.int64)
    mask = np.zeros((batch, width), dtype=np.int64)
    positions = torch.zeros(len(rows.positions), batch, width, dtype=torch.long)
    columns: list[Tensor] = []
    for number, (row, keep, length) in enumerate(zip(rows.rows, keeps, lengths, strict=True)):
        begin = width - length
        ids[number, :begin] = row.padding_id
        ids[number, begin:] = row.ids[keep]
        mask[number, begin:] = 1
        whole, kept, item = (torch.from_numpy(values) for values in (row.positions, keep, row.item_of))
        positions[:, number, begin:] = remaining_positions(whole, kept, item, position_policy)
        columns.append(torch.from_numpy(begin + np.flatnonzero(row.item_of[keep] >= 0)))
    features, levels = by_modality(_remaining(rows, kept_index))
    return PrunedPrompt(
        family=family,
        input_ids=send(torch.from_numpy(ids), device),
        attention_mask=send(torch.from_numpy(mask), device),
        position_ids=send(positions if len(positions) > 1 else positions[0], device),
        full_ids=full_ids,
        features=features,
        levels=levels,
        prompt_tokens=[len(row.ids) for row in rows.rows],
        visual_columns=columns,
        budget_group=groups,
        last=LastRun.of([len(row.visual) for row in rows.rows], kept_index),
    )


def _keep(row: Row, kept: np.ndarray) -> np.ndarray:
    """Which of a row's tokens remain: all text, and the visual tokens ``kept``; bool [T]."""
    keep = row.item_of < 0
    keep[row.visual[kept]] = True
    return keep


def _remaining(rows: Rows, kept_index: list[Tensor]) -> list[VisualItem]:
    """Every item of the batch with its kept tokens alone; their places reach the device in one copy."""
    items: list[VisualItem] = []
    places: list[np.ndarray] = []
    for row, kept in zip(rows.rows, kept_index, strict=True):
        ends = np.cumsum([0, *(item.tokens for item in row.items)])
        cuts = np.searchsorted(kept.numpy(), ends)
        items += row.items
        places += [kept.numpy()[a:b] - end for a, b, end in zip(cuts[:-1], cuts[1:], ends[:-1], strict=True)]
    if not items:
        return []
    together = send(torch.from_numpy(np.concatenate(places)), rows.device)
    return [
        replace(
            item,
            features=item.features[chosen],
            levels=tuple(level[chosen] for level in item.levels),
            observed=None,
        )
        for item, chosen in zip(items, together.split([len(place) for place in places]), strict=True)
    ]
