"""Decode evenly spaced frames of a video file with PyAV."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawk.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np


DEFAULT_FRAMES = 8


@dataclass(frozen=True)
class Clip:
    """Frames of a video: RGB, uint8 [n, height, width, 3], and where they stood in it."""

    frames: np.ndarray
    indices: list[int]  # frame numbers in the file
    total: int  # frames in the file
    fps: float  # of the file

    @property
    def metadata(self) -> dict[str, Any]:
        """What transformers' processors want to know; Qwen makes temporal positions of it."""
        return {
            "total_num_frames": self.total,
            "fps": self.fps,
            "duration": self.total / self.fps,
            "frames_indices": list(self.indices),
        }


def decode_video(source: str | Path | bytes, frames: int = DEFAULT_FRAMES) -> Clip:
    """``frames`` evenly spaced frames, the first and the last among them; all if there are fewer.

    Evenly by number, as the published harnesses choose them: where the frame rate varies, times that
    are made of numbers and the average rate are approximate. Keeps no other frame in memory, and
    decodes no other than it must: see :func:`_by_time`. Raises InputError for a missing file, one that
    is no video or only a part of one, and ``frames`` below 1.
    """
    import av
    import numpy as np

    if frames < 1:
        raise InputError(f"frames: {frames}; it must be 1 or more.")
    name = "the video" if isinstance(source, bytes) else str(source)
    try:
        total = _count_frames(source)
        wanted = _spread(frames, total)
        fps, pictures = _by_time(source, wanted, total) or _by_number(source, wanted)
        if len(pictures) < len(wanted):  # fewer than the container says: dropped, or cut off without it
            total = _count_decoded(source)
            wanted = _spread(frames, total)
            fps, pictures = _by_number(source, wanted)
        indices = sorted(pictures)
        return Clip(np.stack([pictures[i] for i in indices]), indices, total, fps)
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file.") from None
    except (av.FFmpegError, IndexError, OSError, ValueError) as error:
        raise InputError(f"{name}: not a video that can be decoded ({error}).") from None


def _spread(frames: int, total: int) -> list[int]:
    import numpy as np

    return np.linspace(0, total - 1, min(frames, total)).round().astype(int).tolist()


def _openable(source: str | Path | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else str(source)


def _count_frames(source: str | Path | bytes) -> int:
    """Frames in the file; counted where the container does not say (WebM, say)."""
    import av

    with av.open(_openable(source)) as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        stream = container.streams.video[0]
        if stream.frames:
            return stream.frames
        times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        _refuse_part(container, stream, times, 0.5)  # its last frame may stand for long
    return len(times)


def _count_decoded(source: str | Path | bytes) -> int:
    """Frames that really come out, of a file that promises more."""
    import av

    with av.open(_openable(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        times = [frame.pts for frame in container.decode(stream)]
        _refuse_part(container, stream, [time for time in times if time is not None], 0.9)
    return len(times)


def _refuse_part(container: Any, stream: Any, times: Sequence[int], share: float) -> None:
    """A broken download ends before ``share`` of the time that its header tells."""
    if not times:
        raise ValueError("it has no frames")
    alone = len(container.streams) == 1  # else the sound may be what lasts longer
    length = stream.duration * stream.time_base if stream.duration else None
    if length is None and alone and container.duration:
        length = Fraction(container.duration, 1_000_000)
    lasted = (max(times) - min(times)) * stream.time_base
    frame = 1 / (stream.average_rate or 24)
    if length is not None and lasted + frame < share * length:
        raise ValueError(f"its frames end after {float(lasted):.1f} of {float(length):.1f} s: a part of it")


def _by_time(
    source: str | Path | bytes, wanted: Sequence[int], total: int
) -> tuple[float, dict[int, np.ndarray]] | None:
    """Frame rate and wanted frames, each decoded from the last keyframe before it.

    Of an hour of video, 64 frames are some thousands to decode in place of a hundred thousand. Which
    time belongs to a number is read off all packets first. None where that is not certain, and counting
    must do: packets without a time, two of one time, a time at which no frame comes, or a keyframe
    that is no whole picture (streams that renew it strip by strip).
    """
    import av
    from av.video.frame import PictureType

    if wanted[-1] == 0:
        return None  # the first frame: nothing to skip, and no reason to read the file
    with av.open(_openable(source)) as container:
        packets = container.demux(container.streams.video[0])
        keyframes = [(packet.pts, packet.is_keyframe) for packet in packets if packet.size]
    if any(pts is None for pts, _ in keyframes):
        return None
    times = sorted(pts for pts, _ in keyframes)
    keys = sorted(pts for pts, key in keyframes if key)
    if len(set(times)) != total or not keys or keys[0] > times[0]:
        return None
    pictures, place = {}, times[0]
    with av.open(_openable(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoded = container.decode(stream)
        for number in wanted:
            time = times[number]
            key = keys[bisect_right(keys, time) - 1]
            if key > place:
                try:
                    container.seek(key, stream=stream)
                except av.FFmpegError:
                    return None
                decoded = container.decode(stream)
            for frame in decoded:
                whole = frame.pts != key or frame.pict_type == PictureType.I
                if frame.pts is None or frame.pts >= time or not whole:
                    break
            else:
                return None
            if frame.pts != time or not whole:
                return None
            pictures[number], place = _upright(frame), time
        return _rate(stream), pictures


def _by_number(source: str | Path | bytes, wanted: Sequence[int]) -> tuple[float, dict[int, np.ndarray]]:
    """The same by decoding the file from its start and counting."""
    import av

    pictures = {}
    with av.open(_openable(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                pictures[number] = _upright(frame)
            if number == wanted[-1]:
                break
        return _rate(stream), pictures


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 24)


def _upright(frame: Any) -> np.ndarray:
    """RGB [height, width, 3], turned as the file says (a phone held upright)."""
    import numpy as np

    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
