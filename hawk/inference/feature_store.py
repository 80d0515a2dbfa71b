"""The step encode_images: the vision tower once per distinct image or video, its output in one file.

Every later job reads these features memory-mapped and loads no vision tower. A file maps the
SHA-256 of an image's or video's encoded bytes to its embeddings; grids and the like are in the
header, and so are the paths of videos, which no later job opens.
"""

from __future__ import annotations

import json
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

from hawk.core.atomic import atomic_path
from hawk.core.errors import InputError
from hawk.inference.visual_files import PATH
from hawk.models.base import VisualItem

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


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
        metadata = {
            "hawk": json.dumps(block, sort_keys=True),
            "items": json.dumps(items),
            "names": json.dumps(names),
        }
        header = json.dumps({"__metadata__": metadata, **entries}).encode()
        header += b" " * (-len(header) % 8)
        body.seek(0)
        with open(temporary, "wb") as out:
            out.write(struct.pack("<Q", len(header)) + header)
            shutil.copyfileobj(body, out, 1 << 24)


class FeatureStore:
    """Reads a features file, memory-mapped: nothing is loaded before it is asked for."""

    def __init__(self, path: str | Path, identity: Mapping[str, str] | None = None) -> None:
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
        self._names = json.loads(metadata.get("names", "{}"))
        for key, value in (identity or {}).items():
            value_in_file = self.provenance["identity"].get(key)
            if value_in_file != value:
                raise InputError(f"{path}: the file says {key} {value_in_file!r}, its path says {value!r}.")

    def __getitem__(self, key: str) -> VisualItem:
        return self._item(key, self._file.get_tensor)

    def outline(self, key: str) -> VisualItem:
        """The item with its sizes from the header alone; its tensors are on the device meta."""
        return self._item(
            key, lambda name: torch.empty(self._file.get_slice(name).get_shape(), device="meta")
        )

    def _item(self, key: str, tensor: Callable[[str], Tensor]) -> VisualItem:
        wanted, key = key, self._names.get(key, key)
        if key not in self._items:
            what = wanted.removeprefix(PATH) if wanted.startswith(PATH) else f"image {wanted[:12]}…"
            raise InputError(f"{self.path}: no features for {what}; encode its samples again.")
        entry = self._items[key]
        return VisualItem(
            features=tensor(key),
            grid=tuple(entry["grid"]),
            modality=entry["modality"],
            levels=tuple(tensor(f"{key}.level{i}") for i in range(entry["levels"])),
            meta=entry["meta"],
        )

    def check(self, source: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> None:
        """Refuse features of another model or dtype, or of images made larger or smaller."""
        settings = self.provenance["settings"]
        for key in ("id", "revision", "dtype"):
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
