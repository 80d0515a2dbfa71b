"""Jobs from a warm process: the libraries are imported once, and every job is a fork of that process.

A job on a small model is nearly all start-up: importing torch and transformers takes seconds, scoring
less than one. ``hawk warm snakemake --cores 2`` runs its command beside a process that has imported
them. Each job's own ``hawk`` then hands its arguments, environment, folder and open files to that
process, which forks a child to do the work, and waits for the child's exit code. Every job stays a
job of Snakemake, with its log, and a process of its own, with the same result.

A job that would not come out the same (another installation, other variables that libraries read
while they are imported, another Slurm job) or finds no warm process does its work itself. Killed
jobs kill their child. The process ends with the command; edits to the code need a new one.

What has to be known of it elsewhere is one call: ``hawk.cli.main`` hands its command line to
:func:`run`, which is the whole life of a hawk process, the tricks with start and end included.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hawk import report, steps
from hawk.core.errors import InputError
from hawk.core.shipped import PACKAGE
from hawk.models import REGISTRY

VARIABLE = "HAWK_WARM"  # the folder with the socket
# Read while libraries are imported, so a job with other values needs a process of its own.
IMPORT_TIME = (
    "HF_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "PYTHON", "MPL", "XDG_CACHE_HOME",
    "OMP_", "MKL_", "OPENBLAS_", "SLURM_JOB_ID",
)  # fmt: skip
ANY_VALUE = ("TORCHINDUCTOR_CACHE_DIR",)  # torch sets it itself once something was compiled
THREADS = (
    "OMP_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
NOT_WARM = ("warm", "demo", "run")  # commands that run Snakemake themselves
OUTSIDE = 1  # exit code where the child says none
INTERRUPTED = 130

_command_line: Callable[[], int] | None = None  # of this process and its forks; see run()

log = logging.getLogger("hawk")


def identity(environment: dict[str, str]) -> dict[str, str]:
    """What two processes must share to give the same results."""
    read = (key for key in environment if key.startswith(IMPORT_TIME) and key not in ANY_VALUE)
    settings = {key: environment[key] for key in read}
    return {**settings, "package": str(PACKAGE), "python": os.path.realpath(sys.prefix)}


def run(command_line: Callable[[], int]) -> NoReturn:
    """Run a hawk process to its end: in the warm process if there is one, else here.

    ``command_line`` reads ``sys.argv`` and returns the exit code; jobs that are forked from this process run
    it too.
    """
    global _command_line
    _command_line = command_line
    try:
        code = delegate(sys.argv[1:])
    except KeyboardInterrupt:
        code = interrupted()
    if code is None:
        # A fifth of a job's start-up is garbage collection while torch is imported, which frees nothing.
        gc.set_threshold(100_000, 10, 10)
        code = command_line()
        sys.stdout.flush()
        sys.stderr.flush()
    # Everything is written and closed. Skipping the interpreter's own shutdown saves most of a second of a
    # job that has torch loaded.
    os._exit(code)


def interrupted() -> int:
    """Say that the user stopped it; returns the exit code."""
    print("error: interrupted; nothing was half-written.", file=sys.stderr)
    return INTERRUPTED


# --- the job's side ---------------------------------------------------------------------------------


def delegate(arguments: Sequence[str]) -> int | None:
    """Have the warm process run ``hawk arguments``; its exit code, or None if it can't."""
    folder = os.environ.get(VARIABLE)
    if not folder or not arguments or arguments[0] in NOT_WARM:
        return None
    try:
        same = json.loads(Path(folder, "identity.json").read_text()) == identity(dict(os.environ))
        connection = socket.socket(socket.AF_UNIX)
        if not same:
            return None
        connection.connect(str(Path(folder, "socket")))
    except OSError:
        return None
    with connection:
        request = json.dumps(
            {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(os.environ)}
        ).encode()
        socket.send_fds(connection, [struct.pack("<Q", len(request))], [0, 1, 2])
        connection.sendall(request)
        code = connection.recv(1)
    if not code:
        print("error: the warm process ended while this job ran; run it again.", file=sys.stderr)
        return OUTSIDE
    return code[0]


# --- the warm side ----------------------------------------------------------------------------------


@dataclass
class _Job:
    pid: int
    connection: socket.socket
    ended: int  # readable when the child has ended


@contextmanager
def warm_process() -> Iterator[dict[str, str]]:
    """Start one; yields the environment in which jobs find it. It ends with the context.

    Where the system has no pidfd (Linux has), or this is no process of :func:`run`, jobs do their work
    themselves.
    """
    if not hasattr(os, "pidfd_open") or _command_line is None:
        yield dict(os.environ)
        return
    with tempfile.TemporaryDirectory(prefix="hawk-warm-") as folder:
        environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
        Path(folder, "identity.json").write_text(json.dumps(identity(environment)))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(Path(folder, "socket")))
        listener.listen(128)  # jobs that come before the imports are done wait here
        alive, held = os.pipe()
        if os.fork() == 0:
            os.close(held)
            os.environ.update(environment)
            try:
                _serve(listener, alive)
            except Exception:
                log.exception("the warm process failed; jobs go on without it")
            finally:
                os._exit(1)
        listener.close()
        os.close(alive)
        try:
            yield {**os.environ, VARIABLE: folder}
        finally:
            os.close(held)


def run_beside(command: Sequence[str]) -> int:
    """Run a command with a warm process beside it; returns the command's exit code."""
    with warm_process() as environment:
        try:
            process = subprocess.Popen(command, env=environment)
        except FileNotFoundError:
            raise InputError(f"hawk warm: there is no command {command[0]!r}.") from None
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the terminal sent it to the command too, which ends its jobs


def _serve(listener: socket.socket, parent: int) -> NoReturn:
    """Fork a child for every connection until ``parent`` (a pipe) is closed and no child is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where flash-attn is installed, importing transformers asks whether there is a GPU. CUDA's own answer
    # would leave every fork without CUDA; that of the driver's library does not.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    _import_what_jobs_need()
    gc.freeze()  # children share this memory; a collection would copy it
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    waiting.register(parent, select.POLLIN)
    jobs: dict[int, _Job] = {}  # by each of the two files that tell about it
    closing = False
    while not closing or jobs:
        # One at a time: handling an event may close the file of the next, whose number is then reused.
        for handle, _ in waiting.poll()[:1]:
            if handle == parent:
                closing = True
                waiting.unregister(parent)
                waiting.unregister(listener)
            elif handle == listener.fileno() and not closing:
                connection, _address = listener.accept()
                pid = os.fork()
                if pid == 0:
                    _close_others(listener, jobs)
                    _work(connection)
                job = _Job(pid, connection, os.pidfd_open(pid))
                jobs[job.ended] = jobs[connection.fileno()] = job
                waiting.register(job.ended, select.POLLIN)
                # Only the child reads; here it tells that the job's own process is gone.
                waiting.register(connection, select.POLLRDHUP)
            elif handle in jobs:
                job = jobs[handle]
                if handle != job.ended:
                    os.kill(job.pid, signal.SIGKILL)
                    waiting.unregister(handle)
                    continue
                _, status = os.waitpid(job.pid, 0)
                code = os.waitstatus_to_exitcode(status)
                for file in (job.ended, job.connection.fileno()):
                    jobs.pop(file)
                _forget(waiting, job)
                with suppress(OSError):  # its own process may be gone
                    job.connection.sendall(bytes([code if code >= 0 else 128 - code]))
                job.connection.close()
                os.close(job.ended)
    os._exit(0)


def _forget(waiting: select.poll, job: _Job) -> None:
    for file in (job.ended, job.connection.fileno()):
        with suppress(KeyError):
            waiting.unregister(file)


def _close_others(listener: socket.socket, jobs: dict[int, _Job]) -> None:
    listener.close()
    for job in {id(job): job for job in jobs.values()}.values():
        job.connection.close()
        os.close(job.ended)


def _import_what_jobs_need() -> None:
    """Every step, the report, and what they import late; starts no thread and touches no GPU."""
    for package in (steps, report):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in ("jsonschema", "matplotlib.figure"):
        importlib.import_module(name)
    for name in REGISTRY:
        importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def _work(connection: socket.socket) -> NoReturn:
    """In the child: become the job, as if it had been started by itself."""
    try:
        head, files, _, _ = socket.recv_fds(connection, 8, 3)
        (length,) = struct.unpack("<Q", head)
        with connection.makefile("rb") as stream:
            request = json.loads(stream.read(length))
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.environ.pop(VARIABLE, None)
        sys.argv = ["hawk", *request["arguments"]]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert _command_line is not None  # else there would be no warm process
        code = _command_line()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    finally:
        os._exit(OUTSIDE)  # whatever happens, a child never goes on as a server
