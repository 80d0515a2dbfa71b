"""From an image or video file to what the language model gets of it.

Through the processor and the family's own path, exactly as ``generate`` would; one file at a time,
so that its features do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hawk.benchmarks import Sample
from hawk.core.errors import InputError
from hawk.inference.preprocessing import image_arguments, prepare_image, read_clip, shrink, video_arguments
from hawk.inference.visual_files import VisualFile, visual_files
from hawk.models.base import VisionLanguageModel, VisualItem
from hawk.pruning.base import Pruner
from hawk.pruning.methods.unpruned import Unpruned

KEPT_BYTES = 2 << 30


@torch.inference_mode()
def encode(
    vlm: VisionLanguageModel,
    file: VisualFile,
    preprocessing: Mapping[str, Any],
    pruner: Pruner | None = None,
) -> VisualItem:
    """Run the vision tower on one file.

    pruner: one that looks into the tower meanwhile, or the downscale control.
    """
    if file.modality == "video":
        return _encode_video(vlm, file, preprocessing, pruner)
    assert isinstance(file.source, bytes)
    image = prepare_image(vlm, file.source, preprocessing)
    limits = image_arguments(vlm, preprocessing)
    if pruner is not None and pruner.other_images:
        image, limits = shrink(vlm, image, limits, pruner)
    # Beside itself, an image is encoded as it is beside any other.
    images = [image, image] if file.among_others else [image]
    items, observed = _tower(vlm, [{"type": "image"}] * len(images), {"images": [images], **limits}, pruner)
    item = items[0]
    item.observed = None if observed is None else observed[: item.tokens]
    return item


def _encode_video(
    vlm: VisionLanguageModel, file: VisualFile, preprocessing: Mapping[str, Any], pruner: Pruner | None
) -> VisualItem:
    """All frames of a video as one item; ``meta`` says how the prompt shows them one by one."""
    if pruner is not None and pruner.other_images:
        raise InputError("downscale makes single images smaller; it is not for samples with a video.")
    clip = read_clip(vlm, file, preprocessing)
    items, observed = _tower(vlm, [{"type": "video"}], video_arguments(vlm, clip, preprocessing), pruner)
    first, meta = items[0], dict(items[0].meta)
    written = vlm.family.video_text(vlm.processor, clip)
    if written is not None:
        text, runs = written
        tokens = sum(item.tokens for item in items)
        meta.update(text=text, runs=[tokens // runs] * runs)
    _, rows, columns = first.grid
    return VisualItem(
        features=torch.cat([item.features for item in items]),
        grid=(sum(item.grid[0] for item in items), rows, columns),
        modality=first.modality,
        levels=tuple(torch.cat(level) for level in zip(*(item.levels for item in items), strict=True)),
        meta=meta,
        observed=observed,
    )


def _tower(
    vlm: VisionLanguageModel, content: list[dict[str, Any]], call: Mapping[str, Any], pruner: Pruner | None
) -> tuple[list[VisualItem], torch.Tensor | None]:
    """The items of one turn that holds nothing but ``content``, and what the pruner saw."""
    text = vlm.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    inputs = vlm.processor(text=[text], return_tensors="pt", **call).to(vlm.model.device)
    for name in ("pixel_values", "pixel_values_videos"):
        if name in inputs:
            inputs[name] = inputs[name].to(vlm.model.dtype)
    with (pruner or Unpruned()).watch(vlm.model, vlm.family) as seen:
        encoded = vlm.family.encode(vlm.model, inputs)
    seen = vlm.family.place_observed(vlm.model, inputs, seen)
    return [item for items in encoded.values() for item in items], seen[0] if seen else None


class Recomputed:
    """Features without a file: the vision tower runs when an image or video is asked for.

    pruner: see :func:`encode`. The first ones stay in memory, up to ``KEPT_BYTES``, and the last:
    a sample's length is asked for before it is scored, every pass asks in the same order, and
    questions on one image stand together.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        samples: Sequence[Sample],
        preprocessing: Mapping[str, Any],
        pruner: Pruner | None = None,
    ) -> None:
        self.vlm, self.preprocessing, self.pruner = vlm, preprocessing, pruner
        self._files = {file.key: file for s in samples for file in visual_files(vlm.family, s)}
        self._items: dict[str, VisualItem] = {}
        self._bytes = 0
        self._last: tuple[str, VisualItem] | None = None

    def __getitem__(self, key: str) -> VisualItem:
        if key in self._items:
            return self._items[key]
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        item = encode(self.vlm, self._files[key], self.preprocessing, self.pruner)
        size = sum(tensor.nbytes for tensor in (item.features, *item.levels))
        if self._bytes + size <= KEPT_BYTES:
            self._items[key] = item
            self._bytes += size
        self._last = key, item
        return item

    outline = __getitem__
