"""Files that are whole or not there: atomic writes, and the lock that one writer of an output holds."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hawk.core.errors import InputError
from hawk.core.values import refuse


def check_output(path: str | os.PathLike[str]) -> Path:
    """A path that a file may be written to; refuses a folder, and a place below what is no folder."""
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        raise refuse("the file to write", path, "a path")
    place = Path(path)
    if place.is_dir() or os.fspath(path).endswith(("/", os.sep)) or not place.name:
        raise InputError(f"{os.fspath(path)!r} is a folder; give the name of a file in it.")
    for above in place.absolute().parents:
        if _is_no_folder(above):
            raise InputError(f"{os.fspath(path)!r} cannot be written: {above} is no folder.")
    return place


def _is_no_folder(path: Path) -> bool:
    """Another kind of file stands there, or a dead link: told by one look, since folders come and go."""
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (path.is_dir() if stat.S_ISLNK(mode) else stat.S_ISDIR(mode))


def refuse_overwriting(option: str, output: str | os.PathLike[str], *read: str | os.PathLike[str]) -> None:
    """Refuse an output that is one of the files read, by whatever path: the input would be gone."""
    if Path(output).resolve() in {Path(path).resolve() for path in read}:
        raise InputError(f"{option}: {os.fspath(output)} is what is read; give another name.")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside ``path`` that replaces it when the block ends without an error.

    Written, fsynced, renamed: a reader sees the old file, the new one or none, never half of one.
    """
    path = check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def output_lock(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Hold the only right to write ``path``; yields True if another writer had to be waited for.

    An orphaned cluster job and its resubmission may both be after one output. The second waits,
    and its caller then finds a finished file. The lock is an flock, so it ends with its process
    however that dies. Folders made for the output go again if nothing came of it: a run's folder is known
    by the folders in it.
    """
    path = check_output(path)
    made = [folder for folder in path.parents if not folder.exists()]  # the deepest first
    lock = path.with_name(f".{path.name}.lock")
    waited = False
    lost = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except (FileNotFoundError, FileExistsError):
            # A writer beside this one, whose work failed, has just removed the empty folder: before the file
            # was opened in it, or between mkdir's "it exists" and its look whether that is a folder.
            lost += 1
            if lost == 1000:
                raise
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        # The one before us removes the file when done: a lock on a removed file locks nothing.
        try:
            same = os.fstat(handle).st_ino == os.stat(lock).st_ino
        except FileNotFoundError:
            same = False
        if same:
            break
        os.close(handle)
    # Left by writers that were killed: nobody but us may be writing this output now.
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)
    try:
        yield waited
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)
        with contextlib.suppress(OSError):  # something was made in it
            for folder in made:
                folder.rmdir()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
