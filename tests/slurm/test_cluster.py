"""Two Slurms of tests on one machine keep out of each other's way; without any daemon of Slurm."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cluster
import pytest
from cluster import Cluster


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Another /etc, and nothing that needs root or packages."""
    monkeypatch.setattr(cluster, "ETC", tmp_path / "etc")
    monkeypatch.setattr(cluster, "HOSTS", tmp_path / "hosts")
    monkeypatch.setattr(cluster, "STARTING", tmp_path / "lock")
    (tmp_path / "etc").mkdir()
    (tmp_path / "hosts").write_text("127.0.0.1 here # hawk-slurm\n")
    monkeypatch.setattr(Cluster, "_install", lambda self: None)
    monkeypatch.setattr(Cluster, "_name_this_host", lambda self: None)
    monkeypatch.setattr(Cluster, "_configure", leads_there)


def leads_there(self: Cluster) -> None:
    link = cluster.ETC / "slurm.conf"
    link.unlink(missing_ok=True)
    link.symlink_to(self.conf)


def ports(one: Cluster) -> set[int]:
    return set(range(one.port, one.port + one.nodes + 2))


def daemon(folder: Path, tmp_path: Path) -> subprocess.Popen:
    """A process by the controller's name, noted where the controller's pid is."""
    program = tmp_path / "slurmctld"
    shutil.copy(shutil.which("sleep"), program)
    process = subprocess.Popen([program, "60"])
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "slurmctld.pid").write_text(str(process.pid))
    cluster._wait("its name", lambda: cluster._daemon(folder / "run", "slurmctld"))  # from fork to exec
    return process


def test_folder_ports_and_lock_are_a_clusters_own():
    several = [Cluster() for _ in range(3)]
    assert len({one.folder for one in several}) == 3
    assert len(set.union(*map(ports, several))) == 12
    with pytest.raises(RuntimeError, match="belongs to a process that still runs"):
        Cluster(several[0].folder)
    for one in several:
        one.stop()
        assert not one.folder.exists()


def test_what_is_written_names_them(monkeypatch):
    monkeypatch.undo()
    first, second = Cluster(), Cluster(accounting=True)
    for one, other in ((first, second), (second, first)):
        text = one.settings()["slurm.conf"] + one.settings()["slurmdbd.conf"]
        assert f"SlurmctldPort={one.port}\n" in text
        assert f"Port=[{one.port + 1}-{one.port + 2}] " in text
        assert f"DbdPort={one.port + 3}\n" in text
        assert str(other.folder) not in text
        assert not any(str(port) in text for port in ports(other))
        assert "{" not in text
    first.stop()
    second.stop()


def test_a_second_one_waits_and_ends_nothing_of_the_first(tmp_path):
    first, second = Cluster(), Cluster()
    assert first._take_place()
    process = daemon(first.folder, tmp_path)
    with pytest.raises(TimeoutError, match=f"another Slurm.*that of {first.folder}"):
        second.start(wait=0.2)
    second.stop()  # as a test's teardown does after that
    assert process.poll() is None
    assert cluster.in_place() == first.folder
    assert cluster.HOSTS.read_text()
    first.end("slurmctld")
    assert process.wait(5) < 0
    first.stop()
    assert cluster.in_place() is None
    assert not cluster.HOSTS.read_text().strip()
    third = Cluster()
    assert third._take_place()
    third.stop()


LEAVES = """
import sys; sys.path.insert(0, sys.argv[1])
import cluster
print(cluster.Cluster().folder)
"""


@pytest.mark.parametrize("stays", [False, True])
def test_a_cluster_whose_process_has_died(stays, tmp_path, monkeypatch):
    """It is in nobody's use and gives way; one that was started to stay up does not."""
    command = [sys.executable, "-c", LEAVES, str(Path(cluster.__file__).parent)]
    left = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    (cluster.ETC / "slurm.conf").symlink_to(left / "slurm.conf")
    process = daemon(left, tmp_path)
    monkeypatch.setattr(Cluster, "call", lambda self, *words: "")
    if stays:
        (left / "stays").touch()
    new = Cluster()
    assert new._take_place() is not stays
    assert (process.poll() is None) is stays
    assert left.exists() is stays
    process.kill()
    process.wait()
    new.stop()
    shutil.rmtree(left, ignore_errors=True)
