"""Decode evenly spaced frames of a video file with PyAV."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawk.errors import InputError

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

    One pass over the file, keeping no other frame in memory. Raises InputError for a missing file,
    one that is no video, and ``frames`` below 1.
    """
    import av
    import numpy as np

    if frames < 1:
        raise InputError(f"frames: {frames}; it must be 1 or more.")
    name = "the video" if isinstance(source, bytes) else str(source)
    try:
        total = _count_frames(source)
        wanted = np.linspace(0, total - 1, min(frames, total)).round().astype(int)
        pictures = {}
        with av.open(_openable(source)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            fps = float(stream.average_rate or stream.guessed_rate or 24)
            last = int(wanted[-1])
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    pictures[number] = _upright(frame)
                if number == last:
                    break
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file.") from None
    except (av.FFmpegError, IndexError, OSError, ValueError) as error:
        raise InputError(f"{name}: not a video that can be decoded ({error}).") from None
    if not pictures:
        raise InputError(f"{name}: not one frame of it can be decoded.")
    indices = sorted(pictures)
    return Clip(np.stack([pictures[i] for i in indices]), indices, total, fps)


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
        count = sum(packet.pts is not None for packet in container.demux(stream))
    if not count:
        raise ValueError("it has no frames")
    return count


def _upright(frame: Any) -> np.ndarray:
    """RGB [height, width, 3], turned as the file says (a phone held upright)."""
    import numpy as np

    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
