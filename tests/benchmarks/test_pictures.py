"""One reader of pictures for everything; a picture's identity is what it shows."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hub_rows import picture
from PIL import Image

from hawk.benchmarks.samples import check_files
from hawk.core.errors import InputError
from hawk.core.images import MAX_PIXELS, file_hash, open_image, pixel_hash, read_bytes, read_image, rgb

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)  # every level once


def encoded(image, kind="png", **options):
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def both_readers(content, tmp_path):
    """The pixels as benchmarks see them, which are those of ``hawk generate``."""
    (tmp_path / "picture").write_bytes(content)
    seen, shown = rgb(open_image(content)), read_image(tmp_path / "picture")
    assert seen.mode == shown.mode == "RGB"
    assert np.array_equal(np.asarray(seen), np.asarray(shown))
    return np.asarray(seen)


def twelve_bit_tiff(values):
    """A TIFF of one strip with 12 bits per sample, packed, as microscopes write it."""
    height, width = values.shape
    flat = values.ravel().astype(int)
    data = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(flat[::2], flat[1::2], strict=True)
    )
    tags = [(256, 3, width), (257, 3, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 0)]
    tags += [(277, 3, 1), (278, 3, height), (279, 4, len(data))]
    start = 8 + 2 + 12 * len(tags) + 4
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, kind, value in tags:
        value = start if tag == 273 else value
        head += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    return head + b"\0\0\0\0" + data


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("16-bit PNG", encoded(Image.fromarray(GREY.astype(np.uint16) * 257))),
        ("16-bit TIFF", encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "tiff")),
        ("12 bits in a 16-bit TIFF", encoded(Image.fromarray(GREY.astype(np.uint16) * 16 + 7), "tiff")),
        ("mode I, values of 8 bits", encoded(Image.fromarray(GREY.astype(np.int32)), "tiff")),
        ("mode I, values of 12 bits", encoded(Image.fromarray(GREY.astype(np.int32) * 16), "tiff")),
        ("mode I, values of 16 bits", encoded(Image.fromarray(GREY.astype(np.int32) * 257), "tiff")),
        ("mode I, values of 31 bits", encoded(Image.fromarray(GREY.astype(np.int32) << 23), "tiff")),
        ("float in [0, 1]", encoded(Image.fromarray(GREY.astype(np.float32) / 255), "tiff")),
        ("float in [0, 255]", encoded(Image.fromarray(GREY.astype(np.float32)), "tiff")),
        ("float in [0, 65535]", encoded(Image.fromarray(GREY.astype(np.float32) * 257), "tiff")),
        ("12-bit TIFF", twelve_bit_tiff(GREY.astype(np.uint16) * 16 + 7)),
    ],
)
def test_grey_of_many_bits_keeps_its_levels(name, content, tmp_path):
    assert np.array_equal(both_readers(content, tmp_path)[..., 0], GREY)


def test_a_dark_twelve_bit_tiff_stays_dark(tmp_path):
    """Its own word for the depth counts, not its brightest value (negative control of the guess)."""
    values = np.full((2, 2), 160, np.uint16)
    assert both_readers(twelve_bit_tiff(values), tmp_path).max() == 10


def transparent():
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:, 8:] = (200, 100, 50, 255)
    return Image.fromarray(rgba)


@pytest.mark.parametrize("kind", ["RGBA", "P", "LA"])
def test_what_is_transparent_is_white(kind, tmp_path):
    image = transparent()
    right = (200, 100, 50)
    if kind == "P":
        image = Image.new("P", (16, 16), 0)
        image.putpalette([0, 0, 0, *right] + [0] * 750)
        image.paste(1, (8, 0, 16, 16))
        content = encoded(image, transparency=0)
    elif kind == "LA":
        content, right = encoded(image.convert("LA")), (124, 124, 124)
    else:
        content = encoded(image)
    pixels = both_readers(content, tmp_path)
    assert (pixels[:, :8] == 255).all()
    assert (np.abs(pixels[:, 8:].astype(int) - right) <= 1).all()


def test_half_transparent_is_half_white(tmp_path):
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert set(both_readers(encoded(half), tmp_path).ravel()) == {127}


@pytest.mark.parametrize("kind", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_equal_pixels_are_one_picture_in_whatever_mode(kind):
    black_and_white = np.where(GREY < 100, 0, 255).astype(np.uint8)
    plain = Image.fromarray(black_and_white).convert("RGB")
    if kind == "I;16":
        other = encoded(Image.fromarray(black_and_white.astype(np.uint16) * 257))
    else:
        other = encoded(plain.convert(kind), "tiff" if kind == "CMYK" else "png")
    assert open_image(other).mode != "RGB"
    assert pixel_hash(other) == pixel_hash(encoded(plain))
    assert pixel_hash(other) != pixel_hash(encoded(plain.rotate(90)))


def test_identity_of_a_colour_picture_is_that_of_earlier_runs():
    """Mode, size and bytes: ids of RGB pictures stay, so samples drawn before stay drawn."""
    import hashlib

    image = Image.open(io.BytesIO(picture(3)))
    old = hashlib.sha256(b"RGB 96x64" + image.tobytes()).hexdigest()
    assert pixel_hash(picture(3)) == old


def test_a_large_picture_is_hashed_in_bands(monkeypatch):
    whole = pixel_hash(picture(5))
    monkeypatch.setattr("hawk.core.images._BAND", 500)
    assert pixel_hash(picture(5)) == whole


def bilevel_png(width, height):
    """A valid white PNG without holding its pixels twice."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeeze = zlib.compressobj(1)
    row = b"\0" + b"\xff" * ((width + 7) // 8)
    data = b"".join([*(squeeze.compress(row) for _ in range(height)), squeeze.flush()])
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_pictures_beyond_pillow_s_limit_are_read_and_beyond_ours_refused():
    limit = Image.MAX_IMAGE_PIXELS
    assert open_image(bilevel_png(14000, 14000)).size == (14000, 14000)
    assert limit == Image.MAX_IMAGE_PIXELS
    too_large = bilevel_png(8, 8)
    side = 40_000
    at = too_large.index(b"IHDR") + 4
    head = struct.pack(">II", side, side) + too_large[at + 8 : at + 13]
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    too_large = too_large[:at] + head + crc + too_large[at + 17 :]
    with pytest.raises(InputError, match=rf"40000 x 40000 pixels; at most {MAX_PIXELS:,}"):
        open_image(too_large)


@pytest.mark.parametrize(("size", "refused"), [((2000, 10), False), ((2001, 10), True), ((10, 2001), True)])
def test_a_very_long_picture_is_refused_before_a_gpu_job(size, refused):
    from test_samples import sample

    strip = sample(4, images=({"bytes": encoded(Image.new("RGB", size)), "path": None},))
    if not refused:
        check_files([strip], "toy")
        return
    with pytest.raises(
        InputError, match=rf"benchmark 'toy', sample '4', image 0: {size[0]} x {size[1]} pixels"
    ):
        check_files([strip], "toy")


def test_a_very_long_picture_is_refused_before_a_model_is_loaded(tmp_path):
    for width, refused in ((2000, False), (2001, True)):
        (tmp_path / "strip.png").write_bytes(encoded(Image.new("RGB", (width, 10))))
        if refused:
            with pytest.raises(InputError, match=r"strip.png: 2001 x 10 pixels: one side is more than 200"):
                read_image(tmp_path / "strip.png")
        else:
            assert read_image(tmp_path / "strip.png").size == (width, 10)


def test_a_name_without_end_is_cut_in_its_message():
    with pytest.raises(InputError, match=r"^i{60}…: cannot be read") as caught:
        read_bytes("i" * 140_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("read", [read_image, read_bytes, file_hash])
def test_a_pipe_a_folder_and_a_device_are_refused_at_once(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "pipe", "no regular file"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=rf"cannot be read \(it is {words}\)"):
            read(path)
    with pytest.raises(InputError, match="no regular file"):
        read("/dev/zero")
