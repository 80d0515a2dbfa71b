"""The step encode_images: the vision tower once per distinct image or video, its output in one file.

Every later job reads these features memory-mapped and loads no vision tower. A file maps the
SHA-256 of an image's or video's encoded bytes to its embeddings; grids and the like are in the
header, and so are the paths of videos, which no later job opens.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hawk.core import values
from hawk.core.atomic import atomic_path
from hawk.core.errors import InputError
from hawk.inference.visual_files import PATH
from hawk.models.base import MODALITIES, VisualItem

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_HEADER = ("hawk", "items", "names", "checksums")


@contextmanager
def feature_writer(output: str | Path, block: Mapping[str, Any]) -> Iterator[Any]:
    """Yields ``add(key, item, name=None)``; items go to disk one by one, so memory does not grow.

    ``name`` is another key under which the item can be asked for (a video's path).

    The safetensors header stands before the data and holds every offset, so data is collected in
    a file of its own first and copied behind the finished header.
    """
    entries: dict[str, Any] = {}
    items: dict[str, Any] = {}
    names: dict[str, str] = {}
    sums: dict[str, str] = {}
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

        def add(key: str, item: VisualItem, name: str | None = None) -> None:
            if name is not None:
                names[name] = key
            if key in items:  # the same file under another path
                return
            bad = _bad_values(item)
            if bad is not None:
                raise InputError(f"{output}: the vision tower gives {bad} for {_file_named(name or key)}.")
            put(key, item.features)
            for number, level in enumerate(item.levels):
                put(f"{key}.level{number}", level)
            items[key] = {
                "grid": list(item.grid),
                "modality": item.modality,
                "levels": len(item.levels),
                "meta": dict(item.meta),
            }
            sums[key] = _checksum(items[key], item)

        yield add
        metadata = {
            "hawk": json.dumps(block, sort_keys=True),
            "items": json.dumps(items),
            "names": json.dumps(names),
            "checksums": json.dumps(sums),
        }
        header = json.dumps({"__metadata__": metadata, **entries}).encode()
        header += b" " * (-len(header) % 8)
        body.seek(0)
        with open(temporary, "wb") as out:
            out.write(struct.pack("<Q", len(header)) + header)
            shutil.copyfileobj(body, out, 1 << 24)


def _bad_values(item: VisualItem) -> str | None:
    """What no vision tower gives for an image: values that are not finite, or nothing but zeros."""
    for tensor in (item.features, *item.levels):
        if not torch.isfinite(tensor).all():
            return "values that are not finite"
    return None if item.features.any() else "nothing but zeros"


def _checksum(entry: Mapping[str, Any], item: VisualItem) -> str:
    """Of an item's values, sizes, grid and whatever else its entry in the header says."""
    state = hashlib.sha256(json.dumps(entry, sort_keys=True).encode())
    for tensor in (item.features, *item.levels):
        data = tensor.detach().cpu().contiguous()
        state.update(f"{tuple(data.shape)} {data.dtype}".encode())
        state.update(data.view(torch.uint8).numpy())
    return state.hexdigest()


def _file_named(key: str) -> str:
    return key.removeprefix(PATH) if key.startswith(PATH) else f"image {key[:12]}…"


class FeatureStore:
    """Reads a features file, memory-mapped: nothing is loaded before it is asked for.

    The header is checked on opening: sizes, grids, names, what the file says about itself. An item's
    values are checked against its checksum when they are first read. InputError for all of it.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, str] | None = None) -> None:
        self.path = str(path)
        try:
            self._file = safe_open(self.path, framework="pt")
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such features file.") from None
        except (SafetensorError, OSError) as error:  # OSError of a folder, an empty file
            raise InputError(f"{path}: not a readable features file ({error}).") from None
        metadata = self._file.metadata() or {}
        if "hawk" not in metadata:
            raise InputError(f"{path}: no provenance; this file was not written by hawk.")
        complaint = f"{path}: damaged header; delete the file and run again"
        header = {key: values.parse_json(metadata.get(key, "{}"), complaint) for key in _HEADER}
        try:
            header_parts = {key: values.mapping(value, key) for key, value in header.items()}
            self.provenance = header_parts["hawk"]
            settings = values.mapping(values.member(self.provenance, "settings"), "settings")
            if identity is not None:
                values.mapping(values.member(settings, "model"), "settings.model")
                values.mapping(values.member(settings, "preprocessing"), "settings.preprocessing")
            identity_in_file = values.mapping(values.member(self.provenance, "identity"), "identity")
            self._items, self._names, self._sums = (
                header_parts["items"],
                header_parts["names"],
                header_parts["checksums"],
            )
            self.hidden = self._check_items()
        except InputError as error:
            raise InputError(f"{complaint}: {error}") from None
        for key, value in (identity or {}).items():
            if identity_in_file.get(key) != value:
                raise InputError(
                    f"{path}: the file says {key} {identity_in_file.get(key)!r}, its path says {value!r}."
                )
        self._checked: set[str] = set()

    def _check_items(self) -> int | None:
        """Every item's entry against its tensors' sizes; returns the width of all features."""
        expected: set[str] = set()
        widths: set[int] = set()
        for key, entry in self._items.items():
            where = f"item {values.shown(key)}"
            levels = values.whole(values.member(values.mapping(entry, where), "levels"), "levels", 0, 1000)
            values.choice(values.member(entry, "modality"), f"{where}: modality", MODALITIES)
            values.mapping(values.member(entry, "meta"), f"{where}: meta")
            grid = values.listed(values.member(entry, "grid"), f"{where}: grid", 3)
            cells = math.prod(values.whole(side, f"{where}: a side of grid", 1, 10**6) for side in grid)
            names = [key, *(f"{key}.level{number}" for number in range(levels))]
            expected.update(names)
            shapes = [self._shape(name) for name in names]
            # A token beside the grid: the last one of a family's videos.
            if len(shapes[0]) != 2 or any(shape != shapes[0] for shape in shapes):
                raise InputError(f"{where} has tensors of shapes {shapes}; each must be [tokens, hidden].")
            if shapes[0][0] not in (cells, cells + 1):
                raise InputError(f"{where} has {shapes[0][0]} tokens for a grid of {grid}.")
            widths.add(shapes[0][1])
            values.text(values.member(self._sums, key, "checksums"), f"{where}: checksum")
        unknown = sorted(set(self._file.keys()) - expected)
        if unknown:
            raise InputError(f"the tensor {values.shown(unknown[0])} belongs to no item.")
        for name, key in self._names.items():
            if key not in self._items:
                raise InputError(f"the name {values.shown(name)} is of no item.")
        if len(widths) > 1:
            raise InputError(f"features of widths {sorted(widths)}; those of one model have one.")
        return widths.pop() if widths else None

    def _shape(self, name: str) -> list[int]:
        try:
            return list(self._file.get_slice(name).get_shape())
        except SafetensorError:
            raise InputError(f"the tensor {values.shown(name)} is missing.") from None

    def __getitem__(self, key: str) -> VisualItem:
        item = self._item(key, self._file.get_tensor)
        stored_name = self._names.get(key, key)
        if stored_name not in self._checked:
            bad = _bad_values(item)
            if bad is None and self._sums[stored_name] != _checksum(self._items[stored_name], item):
                bad = "other values than were written"
            if bad is not None:
                raise InputError(f"{self.path}: {bad} for {_file_named(key)}. Delete the file and run again.")
            self._checked.add(stored_name)
        return item

    def outline(self, key: str) -> VisualItem:
        """The item with its sizes from the header alone; its tensors are on the device meta."""
        return self._item(key, lambda name: torch.empty(self._shape(name), device="meta"))

    def _item(self, key: str, tensor: Callable[[str], Tensor]) -> VisualItem:
        wanted, key = key, self._names.get(key, key)
        if key not in self._items:
            raise InputError(f"{self.path}: no features for {_file_named(wanted)}; encode its samples again.")
        entry = self._items[key]
        return VisualItem(
            features=tensor(key),
            grid=tuple(entry["grid"]),
            modality=entry["modality"],
            levels=tuple(tensor(f"{key}.level{i}") for i in range(entry["levels"])),
            meta=entry["meta"],
        )

    def check(
        self, source: Mapping[str, Any], preprocessing: Mapping[str, Any], hidden: int | None = None
    ) -> None:
        """Refuse features of another model or dtype, or of images made larger or smaller.

        source: id, revision, dtype and, where it is known, the state of the model. hidden: the width of
        its embeddings.
        """
        settings = self.provenance["settings"]
        for key in ("id", "revision", "dtype", *(["state"] if "state" in source else [])):
            if settings["model"].get(key) != source.get(key):
                raise InputError(
                    f"{self.path}: made with model {key} {settings['model'].get(key)!r}; "
                    f"this job uses {source.get(key)!r}."
                )
        if settings["preprocessing"] != preprocessing:
            raise InputError(
                f"{self.path}: made with preprocessing {settings['preprocessing']}; "
                f"this job uses {preprocessing}."
            )
        if hidden is not None and self.hidden not in (None, hidden):
            raise InputError(f"{self.path}: features are {self.hidden} wide; this model takes {hidden}.")
