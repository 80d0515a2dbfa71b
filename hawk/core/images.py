"""Encoded images and videos as they are shown: one reader for every file, and a name for each.

Whatever a file's format, what counts is the picture that a viewer sees: turned upright, eight bits per
channel, on white where it is transparent (as qwen-vl-utils lays it). Two files that show the same
pixels have the same :func:`pixel_hash`.
"""

from __future__ import annotations

import hashlib
import io
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawk.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1_000_000_000  # VLMEvalKit's limit; Pillow's own is a sixth of it
_SHOWN = 255  # characters of a path in a message
MAX_ASPECT = 200  # of the longer side to the shorter: Qwen's processors refuse more
_BITS_PER_SAMPLE = 258  # TIFF tag
_BAND = 1 << 24  # pixels that are converted at once when a picture is hashed
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_LOCK = threading.Lock()


def open_image(encoded: bytes) -> Image:
    """The decoded image, turned upright as its EXIF orientation says, at eight bits per channel.

    Its mode is its own (L, P, RGBA, ...), but for grey of more bits, which becomes L. Raises InputError
    for what is no image, is cut off, or has more than ``MAX_PIXELS`` pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with _no_pixel_limit():
            image: Image.Image = Image.open(io.BytesIO(encoded))
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(f"{width} x {height} pixels; at most {MAX_PIXELS:,} in all are allowed.")
            image.load()
            bits = _declared_bits(image)
            return ImageOps.exif_transpose(_eight_bits(image, bits))
    except InputError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, MemoryError, EOFError) as error:
        # PIL names the object that it reads from, which tells nobody anything.
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(f"not a readable image ({len(encoded)} bytes): {reason}.") from None


@contextmanager
def _no_pixel_limit() -> Iterator[None]:
    """Pillow's guard against huge pictures off, for ours is in its place. It is a global of Pillow."""
    from PIL import Image

    with _LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _declared_bits(image: Image) -> int | None:
    """Bits per grey value where the file says less than its values could hold: a 12-bit TIFF."""
    tag = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE)
    bits = tag[0] if isinstance(tag, tuple) else tag
    return bits if bits is not None and 8 < bits < 16 else None


def _eight_bits(image: Image, bits: int | None = None) -> Image:
    """Grey values of more than eight bits, or floating, brought to eight; other images as they are.

    Whole numbers are of the smallest range in use (8, 12, 16 or 31 bits) that holds the largest of them,
    unless the file declares ``bits``; floating ones of [0, 1], [0, 255] or [0, 65535]. Pillow's own
    conversion would clip them: to white from 16 bits, to black from [0, 1].
    """
    if image.mode not in (*_SIXTEEN_BIT, "I", "F"):
        return image
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values.astype(np.float64), nan=0.0)
        largest = next((limit for limit in (1.0, 255.0, 65535.0) if values.max(initial=0.0) <= limit), None)
        values = np.clip(values / (largest or values.max()), 0.0, 1.0)
        return Image.fromarray(np.rint(255.0 * values).astype(np.uint8))
    values = np.clip(values.astype(np.int64), 0, None)
    if bits is None:
        bits = next((depth for depth in (8, 12, 16) if values.max(initial=0) < 1 << depth), 31)
    return Image.fromarray(np.clip(values >> (bits - 8), 0, 255).astype(np.uint8))


def rgb(image: Image) -> Image:
    """As RGB, eight bits per channel, on white where it is transparent."""
    from PIL import Image

    image = _eight_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def read_image(path: str | Path) -> Any:
    """The picture in a file as RGB, as benchmarks see it; an error names the file."""
    if not Path(path).exists():
        raise InputError(f"{path}: there is no such file.")
    content = read_bytes(path)
    try:
        image = open_image(content)
        refuse_long_side(*image.size)
        return rgb(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def refuse_long_side(width: int, height: int, where: str = "") -> None:
    """Refuse a picture that a processor would refuse in a GPU job."""
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"{where}{': ' * bool(where)}{width} x {height} pixels: one side is more than {MAX_ASPECT} times "
            "the other, which vision towers refuse."
        )


def pixel_hash(encoded: bytes) -> str:
    """SHA-256 of what is shown: size and RGB bytes. The same picture in another file or mode is equal."""
    image = open_image(encoded)
    width, height = image.size
    state = hashlib.sha256(f"RGB {width}x{height}".encode())
    # In bands: a picture of a billion pixels would be three gigabytes at once.
    rows = max(1, _BAND // max(width, 1))
    for top in range(0, height, rows):
        band = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        state.update(rgb(band).tobytes())
    return state.hexdigest()


def read_bytes(path: str | Path) -> bytes:
    """The content of a regular file; a pipe or a device, which may never end, is refused."""
    try:
        _refuse_special(path)
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes (videos are told apart by their files)."""
    try:
        _refuse_special(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    name = str(path) if len(str(path)) <= _SHOWN else f"{str(path)[:60]}…"
    return InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}).")


def _refuse_special(path: str | Path) -> None:
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputError(f"{path}: cannot be read (it is {kind}).")


def item_key(content: bytes) -> str:
    """The name of an image or video file in a features file."""
    return hashlib.sha256(content).hexdigest()
