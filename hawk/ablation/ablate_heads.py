"""Switch off single attention heads of the language model.

A head is its slice of the *input* of ``o_proj``, [..., h·d : (h+1)·d]. The attention module's
output is already mixed over heads; a slice of that is no head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hawk.core import values
from hawk.core.errors import InputError, unknown
from hawk.core.heads import Head
from hawk.models import family_of
from hawk.models.base import Family, VisionLanguageModel
from hawk.models.hooks import own_hooks

MODES = ("zero", "mean")


@dataclass(frozen=True)
class AblateHeads:
    """Replace heads' slices at the input of ``o_proj`` while :meth:`attach` is open.

    heads: the heads to ablate, in every row; or one list of heads per row of the batch, so that
        one batch can hold the same sample under several ablations.
    mode: "zero" sets the slice to 0; "mean" puts in ``means[layer]`` ([heads · d], from
        :func:`record_head_means`), the slice's mean over calibration data.
    """

    heads: Sequence[Head] | Sequence[Sequence[Head]]
    mode: str = "zero"
    means: Mapping[int, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("ablation mode", self.mode, MODES)
        if self.mode == "mean" and self.means is None:
            raise InputError("mode 'mean' needs means, the mean input of each head's o_proj slice.")
        lists = [self.heads] if not _is_rows(self.heads) else [*self.heads]
        for heads in lists:
            if not isinstance(heads, list | tuple):
                raise values.refuse("heads", heads, "a list of Head(layer, index), or one such list per row")
            for head in heads:
                if not isinstance(head, Head):
                    raise values.refuse("heads: an entry", head, "a Head, as Head(0, 17)")

    @property
    def rows(self) -> list[list[Head]]:
        """Heads per row; a single list holds for every row."""
        if not self.heads or isinstance(self.heads[0], Head):
            return [list(self.heads)]  # type: ignore[arg-type]
        return [list(row) for row in self.heads]  # type: ignore[arg-type]

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[AblateHeads]:
        """Ablate inside the context, prefill and decoding alike; the model is as before after it.

        Only in the thread or asyncio task that opened it, and in what that starts with a copy of its
        context (``asyncio.to_thread``, ``contextvars.copy_context().run``). A plain ``Thread`` that
        generates into a streamer has none: start it with the target ``copy_context().run``.

        Torch ignores hooks that are added after a module was compiled: pass
        ``disable_compile=True`` to ``generate`` with a static cache on an accelerator.
        """
        family = family_of(model)
        geometry = family.geometry(model)
        rows = self.rows
        for head in (head for row in rows for head in row):
            geometry.check(head)
        with own_hooks() as hooks:
            for layer in sorted({head.layer for row in rows for head in row}):
                projection = family.output_projection(model, layer)
                gone = [[head.index for head in row if head.layer == layer] for row in rows]
                hook = self._hook(projection, gone, layer, geometry.heads)
                hooks.before(projection, hook)
            yield self

    def _hook(self, projection: nn.Linear, gone: list[list[int]], layer: int, heads: int) -> Any:
        width = slice_width(projection, heads)
        keep = torch.ones(len(gone), 1, heads)
        for row, indices in enumerate(gone):
            keep[row, 0, indices] = 0
        keep = keep.repeat_interleave(width, dim=-1)  # [rows, 1, heads · d]
        put_in = None
        if self.mode == "mean":
            assert self.means is not None
            put_in = (1 - keep) * self.means[layer].float()

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal keep, put_in
            inputs = args[0]
            copies = _copies(len(inputs), len(keep))
            keep = keep.to(inputs)  # copied to the device once, not in every step
            mask = keep.repeat_interleave(copies, dim=0)
            out = inputs * mask
            if put_in is not None:
                put_in = put_in.to(inputs)
                out = out + put_in.repeat_interleave(copies, dim=0)
            return (out, *args[1:]), kwargs

        return hook


def _is_rows(heads: object) -> bool:
    """Whether there is a list of heads per row: by the first, as ``rows`` reads it."""
    return isinstance(heads, list | tuple) and bool(heads) and isinstance(heads[0], list | tuple)


def _copies(batch: int, rows: int) -> int:
    """Beams and returned sequences of one sample are adjacent rows."""
    if batch % rows:
        raise InputError(f"per-row ablation of {rows} rows met a batch of {batch} rows.")
    return batch // rows


def slice_width(projection: nn.Linear, heads: int) -> int:
    """Width of one head's slice; hidden_size / heads is wrong where head_dim is its own setting."""
    if projection.in_features % heads:
        raise InputError(f"o_proj has {projection.in_features} inputs, no multiple of {heads} heads.")
    return projection.in_features // heads


@contextmanager
def record_head_means(
    model: nn.Module, family: Family, layers: Sequence[int], mask: list[Tensor]
) -> Iterator[dict[int, Tensor]]:
    """Collect the mean input of ``o_proj`` over unpadded prompt positions, per layer [heads · d].

    ``mask`` is a one-element list that the caller sets to the batch's attention mask before each
    forward pass. The result is filled when the context closes.
    """
    sums = {layer: torch.zeros(family.output_projection(model, layer).in_features, dtype=torch.float64)
            for layer in layers}  # fmt: skip
    counts = dict.fromkeys(layers, 0)
    means: dict[int, Tensor] = {}

    def hook_for(layer: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            values = args[0][mask[0].bool().to(args[0].device)]
            sums[layer] += values.double().sum(0).cpu()
            counts[layer] += len(values)

        return hook

    try:
        with own_hooks() as hooks:
            for layer in layers:
                hooks.before(family.output_projection(model, layer), hook_for(layer))
            yield means
    finally:
        for layer in layers:
            if counts[layer]:
                means[layer] = (sums[layer] / counts[layer]).float()


def read_means(path: str, benchmark: str, vlm: VisionLanguageModel) -> dict[int, torch.Tensor]:
    """layer → [heads · head_dim], of every layer; InputError for a file of another benchmark or model."""
    geometry = vlm.geometry
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable file of head means ({error}).") from None
    complaint = f"{path}: its provenance is damaged; delete it and run again"
    block = values.parse_json(metadata.get("hawk", "null"), complaint)
    identity = block.get("identity") if isinstance(block, dict) else None
    if not isinstance(identity, dict) or identity.get("benchmark") != benchmark:
        raise InputError(
            f"{path}: it does not say that it is of benchmark {benchmark!r}; delete it and run again."
        )
    model_settings = block.get("settings", {}).get("model", {})
    for key in ("id", "revision", "dtype"):
        if model_settings.get(key) != vlm.source.get(key):
            raise InputError(
                f"{path}: made with model {key} {model_settings.get(key)!r}; "
                f"this job uses {vlm.source.get(key)!r}."
            )
    wanted = {f"layer{layer}": [geometry.heads * geometry.head_dim] for layer in range(geometry.layers)}
    shapes = {key: list(value.shape) for key, value in tensors.items()}
    if shapes != wanted:
        key = next(key for key in sorted({*shapes, *wanted}) if shapes.get(key) != wanted.get(key))
        raise InputError(
            f"{path}: {values.shown(key)} has shape {shapes.get(key)}, not {wanted.get(key)}. "
            "Delete it and run again."
        )
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path}: {key} is not finite; delete it and run again.")
    return {layer: tensors[f"layer{layer}"] for layer in range(geometry.layers)}
