"""A real Slurm on this one machine, for tests: two nodes with fake GPUs, on loopback, no systemd.

    python tests/slurm/cluster.py start [--accounting]    as root, on Debian; prints its folder
    python tests/slurm/cluster.py stop FOLDER

Each has a folder, ports and a lock of its own. Only /etc/slurm/*.conf lead there, since Snakemake's jobstep
plugin removes SLURM_CONF from the environment of jobs; so one at a time may be up on a machine, and whoever
starts another waits until that one is stopped. Only a cluster whose process has died is ended by others.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from settings import GRANT, SLURM_CONF, SLURMDBD_CONF, WITH_ACCOUNTING, WITHOUT_ACCOUNTING

ETC = Path("/etc/slurm")
HOSTS = Path("/etc/hosts")
CONFIGS = ("slurm.conf", "gres.conf", "cgroup.conf")
STARTING = Path("/tmp/hawk-slurm.lock")  # held by whoever looks at /etc/slurm and changes it
WAIT = 1800  # seconds for another cluster to be stopped: a run of the long tests


def why_not() -> str | None:
    """The reason why no Slurm can be started here, or None."""
    if os.geteuid() != 0:
        return "starting a Slurm needs root"
    if not Path("/etc/debian_version").is_file():
        return "starting a Slurm needs Debian's packages"
    foreign = [name for name in CONFIGS if (ETC / name).exists() and not (ETC / name).is_symlink()]
    return f"{ETC / foreign[0]} is of another Slurm" if foreign else None


@dataclass
class Cluster:
    """Start with :meth:`start`; :meth:`stop` ends every daemon and removes the folder and what leads to it.

    folder: a new one, unless given. port: the controller's; the nodes' and the database's follow. Ports stay
    taken from here on, by the object itself and then by the daemons. The folder's lock is held
    by the process that made the object, for as long as it lives: a folder whose lock is free is nobody's.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="hawk-slurm-")))
    nodes: int = 2
    gpus: int = 6
    cpus: int = 8
    memory: int = 60_000
    accounting: bool = False
    slurmd_timeout: int = 30
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self._reserved, self._lock = ExitStack(), ExitStack()
        if not self._lock.enter_context(_try_lock(self.folder / "lock")):
            raise RuntimeError(f"{self.folder} belongs to a process that still runs")
        self.port = _free_ports(self.nodes + 2, self._reserved)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def start(self, wait: float = WAIT) -> Cluster:
        """Waits up to ``wait`` seconds while another cluster is up on this machine.

        Raises TimeoutError, which names its folder.
        """
        self.run.mkdir()
        (self.folder / "state").mkdir()
        if not _wait("the place in /etc", self._take_place, seconds=wait, fatal=False):
            raise TimeoutError(
                f"waited {wait:.0f} s for another Slurm on this machine to be stopped, that of {in_place()}"
            )
        self._reserved.close()
        self._munge()
        if self.accounting:
            self._database()
        self.start_controller()
        for number in range(1, self.nodes + 1):
            self.start_node(f"n{number}")
        _wait("the nodes", lambda: self._sinfo().count("idle") == self.nodes)
        return self

    def _take_place(self) -> bool:
        """Put this cluster's settings in /etc, unless another cluster's are there."""
        with _locked(STARTING):
            other = in_place()
            if other is not None and other.exists():
                if _in_use(other):
                    return False
                Cluster(other).end_all()
                shutil.rmtree(other)
            self._install()
            self._name_this_host()
            self._configure()
            return True

    def stop(self) -> None:
        """End it and take away what leads to it, and its folder."""
        self.end_all()
        with _locked(STARTING):
            own = in_place() == self.folder
            for name in CONFIGS:
                if (ETC / name).is_symlink() and Path(os.readlink(ETC / name)).parent == self.folder:
                    (ETC / name).unlink()
            hosts = HOSTS.read_text()
            kept = [line for line in hosts.splitlines() if not line.endswith("# hawk-slurm")]
            if own and len(kept) != len(hosts.splitlines()):
                HOSTS.write_text("\n".join(kept) + "\n")
        self._reserved.close()
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end_all(self) -> None:
        """By recorded pids only. Jobs go first, so that nothing they started stays behind."""
        if self.alive("slurmctld"):
            ids = self.call("squeue", "-h", "-o", "%A").split()
            if ids:
                subprocess.run(["scancel", *ids], timeout=20, check=False)
                _wait("jobs to end", lambda: not self.call("squeue", "-h").strip(), fatal=False)
        for pid_file in sorted(self.run.glob("slurmd-*.pid")):
            self.end(pid_file.stem)
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.end(name)

    # --- what fault tests do to it

    def start_controller(self) -> None:
        self.call("slurmctld", "-f", str(self.conf))
        _wait("slurmctld", lambda: "UP" in self.call("scontrol", "ping"))

    def start_node(self, name: str) -> None:
        (self.folder / f"spool-{name}").mkdir(exist_ok=True)
        self.call("slurmd", "-N", name, "-f", str(self.conf))

    def end(self, name: str, sign: int = signal.SIGTERM) -> None:
        """End a daemon (``slurmctld``, ``slurmd-n1`` …) and wait until it is gone."""
        pid = self.alive(name)
        if pid:
            os.kill(pid, sign)
            if not _wait(name, lambda: self.alive(name) is None, seconds=15, fatal=False):
                os.kill(pid, signal.SIGKILL)
        (self.run / f"{name}.pid").unlink(missing_ok=True)

    def alive(self, name: str) -> int | None:
        """The pid of a daemon that runs."""
        return _daemon(self.run, name)

    def call(self, *words: str) -> str:
        """Output of a command, empty if it fails."""
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=self.environment)
        return done.stdout

    # --- parts of start

    def _install(self) -> None:
        wanted = ["slurmctld", "slurmd", "slurm-client", "munge"]
        wanted += ["slurmdbd", "mariadb-server"] if self.accounting else []
        query = ["dpkg-query", "-W", "-f", "${db:Status-Status}"]
        missing = [name for name in wanted if self.call(*query, name) != "installed"]
        if not missing:
            return
        policy = Path("/usr/sbin/policy-rc.d")  # keeps packages from starting their services
        own = not policy.exists()
        if own:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        try:
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for words in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
                subprocess.run(
                    ["apt-get", "-qq", *words], env=environment, check=True, capture_output=True, timeout=300
                )
        finally:
            if own:
                policy.unlink()

    def _name_this_host(self) -> None:
        """Daemons bind to what the host's own name resolves to; that must be loopback."""
        host = socket.gethostname().split(".")[0]
        try:
            local = socket.gethostbyname(host).startswith("127.")
        except OSError:
            local = False
        if not local:
            HOSTS.write_text(f"127.0.0.1 {host} # hawk-slurm\n{HOSTS.read_text()}")

    def settings(self) -> dict[str, str]:
        """Configuration files by name."""
        names = {
            "host": socket.gethostname().split(".")[0],
            "first": self.port + 1,
            "last": self.port + self.nodes,
            "dbd": self.port + self.nodes + 1,
            "run": self.run,
            **{
                k: getattr(self, k)
                for k in ("folder", "nodes", "gpus", "cpus", "memory", "port", "slurmd_timeout")
            },
        }
        names["accounting"] = (WITH_ACCOUNTING if self.accounting else WITHOUT_ACCOUNTING).format(**names)
        return {
            "slurm.conf": SLURM_CONF.format(**names),
            "gres.conf": f"AutoDetect=off\nName=gpu File={self.folder}/gpu[0-{self.gpus - 1}]\n",
            "slurmdbd.conf": SLURMDBD_CONF.format(**names),
        }

    def _configure(self) -> None:
        for name, text in self.settings().items():
            (self.folder / name).write_text(text)
        (self.folder / "slurmdbd.conf").chmod(0o600)
        # slurmd counts device files; a clone of /dev/null is one.
        for number in range(self.gpus):
            os.mknod(self.folder / f"gpu{number}", 0o020666, os.makedev(1, 3))
        version = self.call("slurmd", "-V").split()[-1].split(".")[:2]
        if [int(part) for part in version] >= [23, 11]:
            (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        ETC.mkdir(exist_ok=True)
        for name in CONFIGS:
            (ETC / name).unlink(missing_ok=True)
            if (self.folder / name).exists():
                (ETC / name).symlink_to(self.folder / name)
        self.environment.pop("SLURM_CONF", None)

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self.folder.chmod(0o755)
        self.call(
            "munged",
            f"--key-file={key}",
            f"--socket={self.run}/munge.socket",
            f"--pid-file={self.run}/munged.pid",
            f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.run}/munge.seed",
        )
        _wait("munged", lambda: (self.run / "munge.socket").exists())

    def _database(self) -> None:
        """MariaDB and slurmdbd, in the folder, as root, reached by a socket only."""
        data, mysql = f"--datadir={self.folder}/db", f"{self.run}/mysql.socket"
        self.call(
            "mariadb-install-db", "--no-defaults", "--user=root", data,
            "--auth-root-authentication-method=socket", "--skip-test-db",
        )  # fmt: skip
        with open(self.folder / "mariadbd.log", "w") as log:
            subprocess.Popen(
                ["mariadbd", "--no-defaults", "--user=root", data, f"--socket={mysql}",
                 "--skip-networking", f"--pid-file={self.run}/mariadbd.pid",
                 "--innodb-buffer-pool-size=64M"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        admin = ("mariadb-admin", "--no-defaults", "-S", mysql, "ping")
        _wait("mariadbd", lambda: "alive" in self.call(*admin))
        self.call("mariadb", "--no-defaults", "-S", mysql, "-e", GRANT)
        environment = {**os.environ, "SLURM_CONF": str(self.conf), "MYSQL_UNIX_PORT": mysql}
        subprocess.run(["slurmdbd"], env=environment, check=True, timeout=60)
        log_file = self.folder / "slurmdbd.log"
        _wait("slurmdbd", lambda: log_file.exists() and "started" in log_file.read_text())

    def _sinfo(self) -> str:
        return self.call("sinfo", "-h", "-N", "-o", "%T")


def in_place() -> Path | None:
    """The folder that /etc/slurm leads to, if it does."""
    link = ETC / "slurm.conf"
    return Path(os.readlink(link)).parent if link.is_symlink() else None


def _in_use(folder: Path) -> bool:
    """Whether a process owns the cluster in a folder, or it was started to stay up and still is."""
    if (folder / "lock").exists() and not (folder / "stays").exists():
        with _try_lock(folder / "lock") as free:
            return not free
    return _daemon(folder / "run", "slurmctld") is not None


def _daemon(run: Path, name: str) -> int | None:
    """The pid in a daemon's file, if that still is the daemon. A zombie is none: pid 1 may not reap here."""
    try:
        pid = int((run / f"{name}.pid").read_text())
        status = Path(f"/proc/{pid}/status").read_text()
    except (OSError, ValueError):
        return None
    same = f"Name:\t{name.split('-')[0]}\n" in status
    return pid if same and "\nState:\tZ" not in status else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock on a file, waited for, until the end of the block or of the process."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Whether the lock on a file is free; if so it is held to the end of the block."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _free_ports(count: int, held: ExitStack) -> int:
    """The first of ``count`` successive ports, below those Linux hands out; bound until ``held`` ends."""
    for _ in range(100):
        first = random.randrange(20_000, 32_000 - count)
        with ExitStack() as sockets:
            try:
                for port in range(first, first + count):
                    sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            held.enter_context(sockets.pop_all())
            return first
    raise OSError(f"no {count} successive ports are free")


def _wait(what: str, done: Callable[[], object], seconds: float = 30, fatal: bool = True) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            if fatal:
                raise TimeoutError(f"waited {seconds:.0f} s for {what}")
            return False
        time.sleep(0.1)
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    starting = actions.add_parser("start")
    starting.add_argument("--accounting", action="store_true", help="also slurmdbd and MariaDB")
    actions.add_parser("stop").add_argument("folder", type=Path, help="what start printed")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        raise SystemExit(f"error: {reason}")
    if options.action == "start":
        cluster = Cluster(accounting=options.accounting)
        (cluster.folder / "stays").touch()  # when this process has ended
        print(cluster.start().folder)
    elif not (options.folder / "slurm.conf").is_file():
        raise SystemExit(f"error: {options.folder} is no folder of a cluster")
    else:
        Cluster(options.folder).stop()
