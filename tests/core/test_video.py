"""Frames of a video: the right ones, the right way up, and clear errors."""

from __future__ import annotations

import av
import numpy as np
import pytest
from videos import write_video

from hawk.core import video
from hawk.core.errors import InputError
from hawk.core.video import decode_video


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_evenly_spaced(tmp_path, name):
    clip = decode_video(write_video(tmp_path / name), frames=4)
    assert clip.indices == [0, 6, 13, 19]
    assert clip.frames.shape == (4, 48, 64, 3)
    np.testing.assert_allclose(clip.frames.mean((1, 2, 3)), [0, 60, 130, 190], atol=6)
    assert (clip.total, clip.fps) == (20, 10)
    assert clip.metadata["duration"] == 2


def test_from_bytes_and_fewer_frames_than_asked_for(tmp_path):
    clip = decode_video(write_video(tmp_path / "a.mp4", frames=3).read_bytes(), frames=8)
    assert clip.indices == [0, 1, 2]


def test_one_frame(tmp_path):
    assert decode_video(write_video(tmp_path / "a.mp4"), frames=1).indices == [0]


def test_bad_input(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    for path in ("text.mp4", "empty.mp4"):
        with pytest.raises(InputError, match=path):
            decode_video(tmp_path / path)
    with pytest.raises(InputError, match="no such file"):
        decode_video(tmp_path / "missing.mp4")
    with pytest.raises(InputError, match="frames: 0"):
        decode_video(tmp_path / "a.mp4", frames=0)
    with pytest.raises(InputError, match="the video"):
        decode_video(b"nothing")
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    with pytest.raises(InputError):  # the index at the end of the file is gone
        decode_video(whole[: len(whole) // 2])


def test_sound_only(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        for packet in stream.encode(frame):
            container.mux(packet)
    with pytest.raises(InputError, match="no video stream"):
        decode_video(path)


# Container, codec, options: reordered frames, frames that refer across keyframes, hidden frames.
STREAMS = [
    ("mp4", "libx264", {"g": "12", "bf": "3"}),
    ("mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    ("mkv", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    ("mkv", "libx265", {"x265-params": "keyint=12:bframes=3:open-gop=1:log-level=none"}),
    ("webm", "libvpx-vp9", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("mp4", "mpeg4", {"g": "12", "bf": "2"}),
    ("avi", "mpeg4", {"g": "12"}),
]
STRIPS = ("mov", "libx264", {"g": "12", "bf": "3", "x264-params": "intra-refresh=1"})


def moving(path, codec, options, frames=60):
    """Frames that each differ from all others, in groups of twelve."""
    base = np.random.default_rng(0).integers(0, 128, (64, 96, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(frames):
            picture = np.roll(base, number, axis=1)
            picture[:8] = 4 * number
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("ending", "codec", "options"), STREAMS)
def test_frames_found_by_their_time_are_those_found_by_counting(tmp_path, ending, codec, options):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    path = moving(tmp_path / f"a.{ending}", codec, options)
    for wanted in ([0, 59], [5, 11, 12, 13, 40], [22, 23, 24, 25, 47, 48, 58], list(range(60))):
        by_time = video._by_time(path, wanted, 60)
        assert by_time is not None
        rate, counted = video._by_number(path, wanted)
        assert by_time[0] == rate == 25
        assert by_time[1].keys() == counted.keys() == set(wanted)
        for number in wanted:
            np.testing.assert_array_equal(by_time[1][number], counted[number])


@pytest.mark.parametrize(
    ("stream", "total"),
    [(STRIPS, 60), (STREAMS[0], 61)],
    ids=["strips", "wrong total"],
)
def test_where_times_may_mislead_frames_are_counted(tmp_path, stream, total):
    ending, codec, options = stream
    path = moving(tmp_path / f"a.{ending}", codec, options)
    assert video._by_time(path, [0, 30, 59], total) is None
    clip = decode_video(path, frames=3)
    counted = video._by_number(path, clip.indices)[1]
    np.testing.assert_array_equal(clip.frames, np.stack(list(counted.values())))


def index_first(path, frames=60):
    """As the web serves them: the index stands before the data, so a part of the file opens."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(frames):
            picture = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("ending", "share"), [("mp4", 0.25), ("mp4", 0.5), ("mp4", 0.85), ("mkv", 0.3)])
def test_a_part_of_a_file_is_refused(tmp_path, ending, share):
    whole = index_first(tmp_path / f"whole.{ending}").read_bytes()
    part = tmp_path / f"part.{ending}"
    part.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=rf"part\.{ending}.*(a part of it|can be decoded)"):
        decode_video(part, frames=8)
    assert decode_video(whole, frames=8).total == 60


def test_fewer_frames_than_the_container_says_are_spread_anew(tmp_path, monkeypatch):
    path = moving(tmp_path / "a.mp4", "libx264", {"g": "12"}, frames=57)
    monkeypatch.setattr(video, "_count_frames", lambda source: 60)
    clip = decode_video(path, frames=8)
    assert clip.total == 57
    assert clip.indices == [0, 8, 16, 24, 32, 40, 48, 56]


def test_a_phone_held_upright(tmp_path):
    """The turn stands in the track's header, as a matrix; here 90 degrees, written over the plain one."""
    path = moving(tmp_path / "a.mp4", "libx264", {"g": "12"}, frames=3)
    plain = decode_video(path, frames=1).frames[0]
    data = path.read_bytes()
    one, minus = (1 << 16).to_bytes(4, "big"), ((1 << 32) - (1 << 16)).to_bytes(4, "big")
    zero, unit = bytes(4), (1 << 30).to_bytes(4, "big")
    identity = one + zero * 3 + one + zero * 3 + unit
    at = data.index(identity, data.index(b"tkhd"))
    turned = zero + one + zero + minus + zero * 4 + unit  # (x, y) is shown at (-y, x): clockwise
    path.write_bytes(data[:at] + turned + data[at + len(identity) :])
    upright = decode_video(path, frames=1).frames[0]
    np.testing.assert_array_equal(upright, np.rot90(plain, -1))
