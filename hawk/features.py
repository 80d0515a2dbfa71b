"""The step encode_images: the vision tower once per distinct image, its output in one file.

Every later job reads these features memory-mapped and loads no vision tower. A file maps the
SHA-256 of an image's encoded bytes to its embeddings; grids and the like are in the header.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hawk.benchmarks import Sample
from hawk.benchmarks.images import open_image, rgb
from hawk.errors import InputError
from hawk.models.base import VisionLanguageModel, VisualItem
from hawk.progress import progress
from hawk.provenance import provenance
from hawk.pruning.base import Pruner
from hawk.pruning.controls import Unpruned
from hawk.pruning.downscale import Downscale, target_size
from hawk.records import atomic_path
from hawk.samples import read_samples

KEPT_ITEMS = 256
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def item_key(content: bytes) -> str:
    """The name of an image or video file in a features file."""
    return hashlib.sha256(content).hexdigest()


def encode_images(
    config: Mapping[str, Any], samples_path: str, role: str, name: str, output: str, view: str = "native"
) -> None:
    """Encode every distinct image of a samples file and write the features."""
    from hawk.scoring import load_for

    samples = read_samples(samples_path, role, name)
    vlm = load_for(config, vision=True)
    contents: dict[str, bytes] = {}
    for sample in samples:
        for image in sample.images:
            contents.setdefault(item_key(image["bytes"]), image["bytes"])
    block = provenance(
        {"role": role, "benchmark": name, "view": view},
        model=dict(vlm.source),
        preprocessing=config["preprocessing"],
    )
    with feature_writer(output, block) as add:
        for key, content in progress(contents.items(), f"encode {name}"):
            add(key, encode(vlm, content, config["preprocessing"]))


@torch.inference_mode()
def encode(
    vlm: VisionLanguageModel,
    content: bytes,
    preprocessing: Mapping[str, Any],
    pruner: Pruner | None = None,
) -> VisualItem:
    """One image file → what the language model gets from it.

    Through the processor and the family's own path, exactly as ``generate`` would; one image at a
    time, so that its features do not depend on its neighbours.
    pruner: one that looks into the tower meanwhile, or the downscale control.
    """
    image = prepare_image(vlm, content, preprocessing)
    limits = image_arguments(vlm, preprocessing)
    if isinstance(pruner, Downscale):
        image, limits = shrink(vlm, image, limits, pruner)
    text = vlm.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}]}], tokenize=False
    )
    inputs = vlm.processor(text=[text], images=[image], return_tensors="pt", **limits).to(vlm.model.device)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(vlm.model.dtype)
    with (pruner or Unpruned()).watch(vlm.model, vlm.family) as seen:
        (item,) = vlm.family.encode(vlm.model, inputs)["image"]
    item.observed = seen[0] if seen else None
    return item


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
        mean = getattr(vlm.processor.image_processor, "image_mean", None) or [0.5] * 3
        color = tuple(round(255 * value) for value in mean)
        side = max(image.size)
        image = ImageOps.pad(image, (side, side), color=color)
    return image


def image_arguments(vlm: VisionLanguageModel, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Processor arguments for the config's pixel limits."""
    limits = {
        "shortest_edge": preprocessing.get("min_pixels"),
        "longest_edge": preprocessing.get("max_pixels"),
    }
    if all(value is None for value in limits.values()):
        return {}
    size = dict(vlm.processor.image_processor.size)
    if not set(limits) <= set(size):
        raise InputError(
            "preprocessing.min_pixels and max_pixels are set, but this model's processor does not "
            f"resize by pixel count; its size has the keys {', '.join(size)}."
        )
    size.update({key: value for key, value in limits.items() if value is not None})
    return {"images_kwargs": {"size": size}}


@contextmanager
def feature_writer(output: str | Path, block: Mapping[str, Any]) -> Iterator[Any]:
    """Yields ``add(key, item)``; items go to disk one by one, so memory does not grow with them.

    The safetensors header stands before the data and holds every offset, so data is collected in
    a file of its own first and copied behind the finished header.
    """
    entries: dict[str, Any] = {}
    items: dict[str, Any] = {}
    offset = 0
    folder = Path(output).parent
    with atomic_path(output) as temporary, tempfile.TemporaryFile(dir=folder) as body:

        def put(name: str, tensor: Tensor) -> None:
            nonlocal offset
            data = tensor.detach().cpu().contiguous()
            raw = data.view(torch.uint8).numpy().tobytes()
            entries[name] = {
                "dtype": _DTYPES[data.dtype],
                "shape": list(data.shape),
                "data_offsets": [offset, offset + len(raw)],
            }
            body.write(raw)
            offset += len(raw)

        def add(key: str, item: VisualItem) -> None:
            put(key, item.features)
            for number, level in enumerate(item.levels):
                put(f"{key}.level{number}", level)
            items[key] = {
                "grid": list(item.grid),
                "modality": item.modality,
                "levels": len(item.levels),
                "meta": dict(item.meta),
            }

        yield add
        metadata = {"hawk": json.dumps(block, sort_keys=True), "items": json.dumps(items)}
        header = json.dumps({"__metadata__": metadata, **entries}).encode()
        header += b" " * (-len(header) % 8)
        body.seek(0)
        with open(temporary, "wb") as out:
            out.write(struct.pack("<Q", len(header)) + header)
            shutil.copyfileobj(body, out, 1 << 24)


class FeatureStore:
    """Reads a features file, memory-mapped: nothing is loaded before it is asked for."""

    def __init__(self, path: str | Path, identity: Mapping[str, str] | None = None) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = str(path)
        try:
            self._file = safe_open(self.path, framework="pt")
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such features file.") from None
        except SafetensorError as error:
            raise InputError(f"{path}: not a readable features file ({error}).") from None
        metadata = self._file.metadata() or {}
        if "hawk" not in metadata:
            raise InputError(f"{path}: no provenance; this file was not written by hawk.")
        self.provenance = json.loads(metadata["hawk"])
        self._items = json.loads(metadata["items"])
        for key, value in (identity or {}).items():
            found = self.provenance["identity"].get(key)
            if found != value:
                raise InputError(f"{path}: the file says {key} {found!r}, its path says {value!r}.")

    def __getitem__(self, key: str) -> VisualItem:
        if key not in self._items:
            raise InputError(f"{self.path}: no features for image {key[:12]}…; encode its samples again.")
        entry = self._items[key]
        return VisualItem(
            features=self._file.get_tensor(key),
            grid=tuple(entry["grid"]),
            modality=entry["modality"],
            levels=tuple(self._file.get_tensor(f"{key}.level{i}") for i in range(entry["levels"])),
            meta=entry["meta"],
        )

    def check_model(self, source: Mapping[str, Any]) -> None:
        """Refuse features of another model or dtype."""
        stored = self.provenance["settings"]["model"]
        for key in ("id", "revision", "dtype"):
            if stored.get(key) != source.get(key):
                raise InputError(
                    f"{self.path}: made with model {key} {stored.get(key)!r}; "
                    f"this job uses {source.get(key)!r}."
                )


class Recomputed:
    """The same interface without a file: the vision tower runs when an image is asked for.

    pruner: see :func:`encode`. The last few images stay in memory: a sample's length is asked for
    before it is scored, and questions share images.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        samples: Sequence[Sample],
        preprocessing: Mapping[str, Any],
        pruner: Pruner | None = None,
    ) -> None:
        self.vlm, self.preprocessing, self.pruner = vlm, preprocessing, pruner
        self._contents = {item_key(i["bytes"]): i["bytes"] for s in samples for i in s.images}
        self._items: dict[str, VisualItem] = {}

    def __getitem__(self, key: str) -> VisualItem:
        if key not in self._items:
            item = encode(self.vlm, self._contents[key], self.preprocessing, self.pruner)
            if len(self._items) >= KEPT_ITEMS:
                self._items.pop(next(iter(self._items)))
            self._items[key] = item
        return self._items[key]
