"""From an image or video file to what the language model gets of it.

Through the processor and the family's own path, exactly as ``generate`` would; one file at a time,
so that its features do not depend on its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hawk.benchmarks import Sample
from hawk.benchmarks.images import open_image, rgb
from hawk.errors import InputError
from hawk.models.base import Family, VisionLanguageModel, VisualItem
from hawk.pruning.base import Pruner
from hawk.pruning.controls import Unpruned
from hawk.pruning.downscale import Downscale, target_size
from hawk.video import DEFAULT_FRAMES, Clip, decode_video

KEPT_BYTES = 2 << 30
PATH = "path:"


def item_key(content: bytes) -> str:
    """The name of an image or video file in a features file."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class VisualFile:
    """One image or video of a sample, under the key of its features.

    source: its bytes, or the path of a video; None where only the key was read. among_others: for
    families that encode a lone image otherwise than one of several (:attr:`Family.several_differ`).
    """

    key: str
    modality: str
    source: bytes | str | None = None
    among_others: bool = False

    @classmethod
    def of(cls, file: Mapping[str, Any], modality: str = "image", among_others: bool = False) -> VisualFile:
        """From a samples file's {"bytes", "path"}, or {"key"} in place of the bytes."""
        content, path = file.get("bytes"), file.get("path")
        key = file.get("key") or (f"{PATH}{path}" if content is None else item_key(content))
        if among_others:
            key += "-among-others"
        return cls(key, modality, path if content is None else content, among_others)


def visual_files(family: Family, sample: Sample) -> list[VisualFile]:
    """A sample's images, then its video."""
    among_others = family.several_differ and len(sample.images) > 1
    files = [VisualFile.of(image, among_others=among_others) for image in sample.images]
    return files if sample.video is None else [*files, VisualFile.of(sample.video, "video")]


def in_prompt_order(messages: Sequence[Mapping[str, Any]], files: Sequence[VisualFile]) -> list[VisualFile]:
    """The files as the conversation's visual parts ask for them, which may stand anywhere."""
    waiting = {name: [file for file in files if file.modality == name] for name in ("image", "video")}
    ordered = []
    for part in (part for message in messages for part in message["content"]):
        queue = waiting.get(part.get("type", "")) if isinstance(part, Mapping) else None
        if queue:
            ordered.append(queue.pop(0))
    # What no part asked for comes last, for the count of placeholders to be refused.
    return [*ordered, *waiting["image"], *waiting["video"]]


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
    if isinstance(pruner, Downscale):
        image, limits = shrink(vlm, image, limits, pruner)
    # Beside itself, an image is encoded as it is beside any other.
    images = [image, image] if file.among_others else [image]
    found, observed = _tower(vlm, [{"type": "image"}] * len(images), {"images": [images], **limits}, pruner)
    item = found[0]
    item.observed = None if observed is None else observed[: item.tokens]
    return item


def _encode_video(
    vlm: VisionLanguageModel, file: VisualFile, preprocessing: Mapping[str, Any], pruner: Pruner | None
) -> VisualItem:
    """All frames of a video as one item; ``meta`` says how the prompt shows them one by one."""
    if isinstance(pruner, Downscale):
        raise InputError("downscale makes single images smaller; it is not for samples with a video.")
    clip = read_clip(vlm, file, preprocessing)
    found, observed = _tower(vlm, [{"type": "video"}], video_arguments(vlm, clip, preprocessing), pruner)
    first, meta = found[0], dict(found[0].meta)
    written = vlm.family.video_text(vlm.processor, clip)
    if written is not None:
        text, runs = written
        tokens = sum(item.tokens for item in found)
        meta.update(text=text, runs=[tokens // runs] * runs)
    _, rows, columns = first.grid
    return VisualItem(
        features=torch.cat([item.features for item in found]),
        grid=(sum(item.grid[0] for item in found), rows, columns),
        modality=first.modality,
        levels=tuple(torch.cat(level) for level in zip(*(item.levels for item in found), strict=True)),
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
        found = vlm.family.encode(vlm.model, inputs)
    seen = vlm.family.place_observed(vlm.model, inputs, seen)
    return [item for items in found.values() for item in items], seen[0] if seen else None


def shrink(
    vlm: VisionLanguageModel, image: Any, limits: Mapping[str, Any], pruner: Downscale
) -> tuple[Any, dict[str, Any]]:
    """The image resized to the budget that ``pruner`` has for it, and arguments that keep it so."""
    processor = vlm.processor.image_processor
    grid = processor([image], return_tensors="pt", **limits.get("images_kwargs", {})).get("image_grid_thw")
    if grid is None:
        raise InputError(
            "downscale needs a vision tower that takes images of any size; "
            f"{vlm.family.name!r} cuts them into tiles of one size."
        )
    merge = processor.merge_size
    frames, rows, columns = grid[0].tolist()
    tokens = (frames, rows // merge, columns // merge)
    factor = processor.patch_size * merge
    height, width = target_size(tokens, factor, pruner.pruning_ratio, pruner.rounding)
    return image.resize((width, height), 3), {"images_kwargs": {"do_resize": False}}  # 3: bicubic


def prepare_image(vlm: VisionLanguageModel, content: bytes, preprocessing: Mapping[str, Any]) -> Any:
    """Decode, apply EXIF rotation, convert to RGB, pad to a square if the config says so."""
    from PIL import ImageOps

    image = rgb(open_image(content))
    if preprocessing.get("pad_to_square"):
        side = max(image.size)
        image = ImageOps.pad(image, (side, side), color=_mean_color(vlm.processor.image_processor))
    return image


def read_clip(vlm: VisionLanguageModel, file: VisualFile, preprocessing: Mapping[str, Any]) -> Clip:
    """The frames of a video, as many as the config says, padded to squares if it says so."""
    import numpy as np

    assert file.source is not None
    clip = decode_video(file.source, preprocessing.get("frames") or DEFAULT_FRAMES)
    if not preprocessing.get("pad_to_square"):
        return clip
    count, height, width, _ = clip.frames.shape
    side = max(height, width)
    frames = np.empty((count, side, side, 3), dtype=clip.frames.dtype)
    frames[:] = _mean_color(vlm.processor.video_processor)
    top, left = (side - height) // 2, (side - width) // 2
    frames[:, top : top + height, left : left + width] = clip.frames
    return Clip(frames, clip.indices, clip.total, clip.fps)


def _mean_color(processor: Any) -> tuple[int, ...]:
    """What normalizes to zero."""
    mean = getattr(processor, "image_mean", None) or [0.5] * 3
    return tuple(round(255 * value) for value in mean)


def image_arguments(vlm: VisionLanguageModel, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Processor arguments for the config's pixel limits."""
    size = _pixel_limits(vlm.processor.image_processor, preprocessing)
    return {"images_kwargs": size} if size else {}


def video_arguments(vlm: VisionLanguageModel, clip: Clip, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Processor arguments for frames that were chosen already; pixel limits hold for each of them."""
    processor = vlm.processor.video_processor
    options = {
        "do_sample_frames": False,
        "video_metadata": [clip.metadata],
        **_pixel_limits(processor, preprocessing),
    }
    if hasattr(processor, "cap_pixels_per_frame"):
        # As Qwen's own code: a video of very many frames gets smaller ones. The default has changed.
        options["cap_pixels_per_frame"] = True
    return {"videos": [clip.frames], "videos_kwargs": options}


def _pixel_limits(processor: Any, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    limits = {
        "shortest_edge": preprocessing.get("min_pixels"),
        "longest_edge": preprocessing.get("max_pixels"),
    }
    if all(value is None for value in limits.values()):
        return {}
    size = dict(processor.size)
    if not set(limits) <= set(size):
        raise InputError(
            "preprocessing.min_pixels and max_pixels are set, but this model's processor does not "
            f"resize by pixel count; its size has the keys {', '.join(size)}."
        )
    size.update({key: value for key, value in limits.items() if value is not None})
    return {"size": size}


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
