"""A step of a greedy choice, repeated: on a GPU recorded once and replayed.

A step is a dozen small operations. A GPU does them in a few microseconds each, and Python takes far longer
to ask for each, so that a choice of 260 tokens waits on Python alone. A CUDA graph of one step is asked for
as a whole (measured by ``make gpu``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

MANY = 16  # steps from which recording one pays
# One stream and one pool of memory per device: recordings follow each other and share them.
_POOLS: dict[torch.device, tuple[torch.cuda.Stream, torch.cuda.MemPool]] = {}
_LOCK = threading.Lock()


def repeat(step: Callable[[int], None], times: int, device: torch.device) -> None:
    """Call ``step`` ``times`` times in a row.

    A step reads and writes tensors in place, asks the CPU for no value of them, and keeps count in a tensor.
    It is given an upper bound of the steps done before it: on a CPU their number.
    """
    if device.type != "cuda" or times < MANY or torch.cuda.is_current_stream_capturing():
        for done in range(times):
            step(done)
        return
    with _LOCK, torch.cuda.device(device):
        if device not in _POOLS:
            _POOLS[device] = torch.cuda.Stream(), torch.cuda.MemPool()
        (stream, pool), current = _POOLS[device], torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            step(times)  # the first, which also loads kernels: loading cannot be recorded
            graph = torch.cuda.CUDAGraph()
            # Other threads may compute on the device meanwhile; they may not draw random numbers on it.
            graph.capture_begin(pool=pool.id, capture_error_mode="thread_local")
            try:
                step(times)
            finally:
                graph.capture_end()
            for _ in range(times - 1):
                graph.replay()
        current.wait_stream(stream)
