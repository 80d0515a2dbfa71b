"""Encoded images and videos as the loaders see them: what they show, and a name for it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from hawk.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
from typing import Any

_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def open_image(encoded: bytes) -> Image:
    """The decoded image, turned upright as its EXIF orientation says, in its own mode."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
        return ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"not a readable image ({len(encoded)} bytes): {error}.") from None


def rgb(image: Image) -> Image:
    """As RGB. Sixteen-bit grey is scaled to eight bits; PIL's own conversion would clip it to white."""
    if image.mode in _SIXTEEN_BIT:
        import numpy as np
        from PIL import Image

        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
    return image.convert("RGB")


def pixel_hash(encoded: bytes) -> str:
    """SHA-256 of what is shown: mode, size and RGB bytes. The same picture in another file is equal."""
    image = open_image(encoded)
    state = hashlib.sha256(f"{image.mode} {image.size[0]}x{image.size[1]}".encode())
    state.update(rgb(image).tobytes())
    return state.hexdigest()


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes (videos are told apart by their files)."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None


def item_key(content: bytes) -> str:
    """The name of an image or video file in a features file."""
    return hashlib.sha256(content).hexdigest()


def read_image(path: str | Path) -> Any:
    """A PIL image in RGB, turned upright as its EXIF data says."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not an image that can be read ({error}).") from None
