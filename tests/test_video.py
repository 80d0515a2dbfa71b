"""Frames of a video: the right ones, the right way up, and clear errors."""

from __future__ import annotations

import av
import numpy as np
import pytest

from hawk.errors import InputError
from hawk.video import decode_video


def write_video(path, frames=20, fps=10, codec="mpeg4"):
    """A video whose n-th frame is grey of level 10·n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.full((48, 64, 3), 10 * number, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


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
