"""One GPU per job on a machine with several and no scheduler.

``snakemake --resources gpu=4`` limits how many GPU jobs run at a time, but gives none of them a
device: all would take the first. So each job locks one, by an flock on a file that every user's
jobs on this machine share. The kernel releases the lock when its process ends, however that dies.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hawk.core.errors import InputError

log = logging.getLogger("hawk")

FOLDER = Path("/tmp/hawk-gpu-slots")  # not $TMPDIR, which may differ from job to job
_held: list[int] = []  # open files; their locks last as long as this process


def claim(device: str = "auto", folder: Path = FOLDER, patience: float | None = None) -> str | None:
    """Wait for a free device and make it the only one that CUDA shows to this process.

    Before anything imports torch: CUDA reads the variable once. Nothing is done where a scheduler
    or a person has set ``CUDA_VISIBLE_DEVICES``, where the config names a device, or without GPUs.

    device: ``model.device`` of the config.
    patience: seconds to wait; None waits for ever.
    Returns the device's number, or None.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ or device not in ("auto", "cuda") or _held:
        return None
    slots = list(named_slots(devices()))
    if not slots:
        return None
    started = time.monotonic()
    while True:
        for name, number in slots:
            handle = _try_lock(folder, name)
            if handle is not None:
                _held.append(handle)
                os.environ["CUDA_VISIBLE_DEVICES"] = number
                os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order of /dev/nvidia*
                log.info("GPU %s of %s", number, ", ".join(dict.fromkeys(n for _, n in slots)))
                return number
        waited = time.monotonic() - started
        if patience is not None and waited >= patience:
            raise InputError(
                f"no GPU became free in {waited:.0f} s; slots: {', '.join(n for n, _ in slots)}."
            )
        if waited < 1:
            log.info("all %d GPU slots are taken; waiting (snakemake --resources gpu=%d)", *[len(slots)] * 2)
        time.sleep(1)


def devices() -> list[str]:
    """Numbers of the GPUs to use: ``HAWK_GPUS``, such as ``0,2``, or every GPU of this machine.

    A number given twice is a GPU that two jobs may share.
    """
    chosen = os.environ.get("HAWK_GPUS")
    if chosen is None:
        files = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()]
        return [str(number) for number in range(len(files))]
    numbers = [part.strip() for part in chosen.split(",") if part.strip()]
    for number in numbers:
        if not number.isdigit():
            raise InputError(f"HAWK_GPUS={chosen!r}: {number!r} is no GPU number; write for example 0,1.")
    return numbers


def named_slots(numbers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name of the lock file, GPU number); the second slot of GPU 0 is ``gpu0-2``."""
    for place, number in enumerate(numbers):
        share = numbers[: place + 1].count(number)
        yield f"gpu{number}" + (f"-{share}" if share > 1 else ""), number


def _try_lock(folder: Path, name: str) -> int | None:
    """An open file that holds the slot's lock, or None if another process has it."""
    path = folder / name
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)
        try:
            # Not with O_CREAT at once: in a sticky folder Linux refuses that for another user's file.
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            os.fchmod(handle, 0o666)
    except PermissionError:
        raise InputError(
            f"{path}: not ours to open, so no GPU can be chosen. Have its owner make the folder's mode "
            "1777 and the file's 666, or choose devices yourself: HAWK_GPUS= switches this off."
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(PermissionError):
            os.utime(handle)  # a young file: who cleans /tmp by age leaves it alone
        if os.fstat(handle).st_ino == os.stat(path).st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass  # taken; or removed since it was opened, and then its lock locks nothing
    os.close(handle)
    return None
