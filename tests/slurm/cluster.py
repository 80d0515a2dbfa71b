"""A real Slurm on this one machine, for tests: two nodes with fake GPUs, on loopback, no systemd.

    python tests/slurm/cluster.py start [--accounting]    as root, on Debian
    python tests/slurm/cluster.py stop

Everything lies in one folder (default /tmp/hawk-slurm); only /etc/slurm/*.conf lead there, since
Snakemake's jobstep plugin removes SLURM_CONF from the environment of jobs.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from settings import GRANT, SLURM_CONF, SLURMDBD_CONF, WITH_ACCOUNTING, WITHOUT_ACCOUNTING

ETC = Path("/etc/slurm")
CONFIGS = ("slurm.conf", "gres.conf", "cgroup.conf")


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
    """Start with :meth:`start`; :meth:`stop` ends every daemon and removes what was put in /etc."""

    folder: Path = Path("/tmp/hawk-slurm")
    nodes: int = 2
    gpus: int = 6
    cpus: int = 8
    memory: int = 60_000
    port: int = 17817
    accounting: bool = False
    slurmd_timeout: int = 30
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def start(self) -> Cluster:
        self._install()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.run.mkdir(parents=True)
        (self.folder / "state").mkdir()
        self._name_this_host()
        self._configure()
        self._munge()
        if self.accounting:
            self._database()
        self.start_controller()
        for number in range(1, self.nodes + 1):
            self.start_node(f"n{number}")
        _wait("the nodes", lambda: self._sinfo().count("idle") == self.nodes)
        return self

    def stop(self) -> None:
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
        for name in CONFIGS:
            if (ETC / name).is_symlink() and Path(os.readlink(ETC / name)).parent == self.folder:
                (ETC / name).unlink()
        hosts = Path("/etc/hosts").read_text()
        kept = [line for line in hosts.splitlines() if not line.endswith("# hawk-slurm")]
        if len(kept) != len(hosts.splitlines()):
            Path("/etc/hosts").write_text("\n".join(kept) + "\n")

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
        """The pid, if that process still is the daemon. A zombie is none: pid 1 may not reap here."""
        try:
            pid = int((self.run / f"{name}.pid").read_text())
            status = Path(f"/proc/{pid}/status").read_text()
        except (OSError, ValueError):
            return None
        same = f"Name:\t{name.split('-')[0]}\n" in status
        return pid if same and "\nState:\tZ" not in status else None

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
            hosts = Path("/etc/hosts")
            hosts.write_text(f"127.0.0.1 {host} # hawk-slurm\n{hosts.read_text()}")

    def _configure(self) -> None:
        names = {
            "host": socket.gethostname().split(".")[0],
            "first": self.port + 1,
            "last": self.port + self.nodes,
            "dbd": self.port + 99,
            "run": self.run,
            **{
                k: getattr(self, k)
                for k in ("folder", "nodes", "gpus", "cpus", "memory", "port", "slurmd_timeout")
            },
        }
        names["accounting"] = (WITH_ACCOUNTING if self.accounting else WITHOUT_ACCOUNTING).format(**names)
        self.conf.write_text(SLURM_CONF.format(**names))
        # slurmd counts device files; a clone of /dev/null is one.
        for number in range(self.gpus):
            os.mknod(self.folder / f"gpu{number}", 0o020666, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nName=gpu File={self.folder}/gpu[0-{self.gpus - 1}]\n"
        )
        version = self.call("slurmd", "-V").split()[-1].split(".")[:2]
        if [int(part) for part in version] >= [23, 11]:
            (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        database = self.folder / "slurmdbd.conf"
        database.write_text(SLURMDBD_CONF.format(**names))
        database.chmod(0o600)
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
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("--accounting", action="store_true", help="also slurmdbd and MariaDB")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        raise SystemExit(f"error: {reason}")
    cluster = Cluster(accounting=options.accounting)
    (cluster.start if options.action == "start" else cluster.stop)()
