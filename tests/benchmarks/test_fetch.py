"""`hawk fetch` against a stand-in for the Hub: what is asked for, recorded, resumed and refused."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import hub_rows
import huggingface_hub
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import constants

from hawk.benchmarks import benchmark
from hawk.cli.tools import fetch
from hawk.core import ledger
from hawk.core.errors import InputError
from hawk.core.shipped import shipped
from hawk.tools.fetch import fetch_config

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
NEWER = "f" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Repositories on a "server"; downloads copy the files that match into a cache."""
    server, cache = tmp_path / "server", tmp_path / "cache"
    state = SimpleNamespace(server=server, cache=cache, commit=hub_rows.COMMIT, downloads=[], asked=[])

    def place(repo, repo_type, commit):
        return cache / f"{repo_type}s--{repo.replace('/', '--')}" / "snapshots" / commit

    def download(repo, *, repo_type, revision, allow_patterns):
        import fnmatch

        root, source = place(repo, repo_type, revision), server / repo
        if constants.HF_HUB_OFFLINE:
            if not root.is_dir():
                raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
            return str(root)
        for file in filter(lambda path: path.is_file(), source.rglob("*")):
            name = file.relative_to(source).as_posix()
            if any(fnmatch.fnmatch(name, one) for one in allow_patterns) and not (root / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / name)
                state.downloads.append(f"{repo}/{name}")
        return str(root)  # asked for by commit: the cache gets no name for it, as in the real one

    class Api:
        def repo_info(self, repo, *, repo_type, revision):
            state.asked.append((repo, revision))
            if revision not in ("main", "v1"):
                raise huggingface_hub.errors.RevisionNotFoundError(
                    "404", response=SimpleNamespace(headers={}, request=None)
                )
            return SimpleNamespace(sha=state.commit)

        def list_repo_files(self, repo, *, repo_type, revision):
            return [
                path.relative_to(server / repo).as_posix()
                for path in (server / repo).rglob("*")
                if path.is_file()
            ]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(ledger, "PATH", tmp_path / "versions.tsv")
    for name in ("pope", "gqa", "textvqa", "videomme"):
        hub_rows.write(name, server / benchmark(name).hub_id)
    (server / "lmms-lab-encoder/textvqa/data/train-00000-of-00001.parquet").write_bytes(b"large")
    (server / MODEL).mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        (server / MODEL / name).write_text(name)
    return state


@pytest.fixture
def config(tmp_path):
    def write(*names, data=None):
        path = tmp_path / "run.yaml"
        variant = {"name": "random", "method": "random"}
        content = {
            "run": "x",
            "model": {"path": MODEL, "layers": 28, "heads": 28},
            "calibration": {"benchmarks": list(names)},
            "evaluation": {"benchmarks": list(names), "variants": [variant]},
            "data": data or {},
        }
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_everything_is_fetched_and_recorded(hub, config):
    entries = list(fetch_config(config("pope", "textvqa", "gqa", "easy_vqa")))
    assert [entry["name"] for entry in entries] == ["Qwen2.5-VL-7B-Instruct", "pope", "textvqa", "gqa"]
    fetched = {name.rpartition("/")[2] for name in hub.downloads}
    assert "model.safetensors" in fetched
    assert "pytorch_model.bin" not in fetched  # no pickle
    assert "train-00000-of-00001.parquet" not in fetched  # of the wanted split only
    assert sum("GQA" in name and name.endswith("parquet") for name in hub.downloads) == 2
    rows = {row["name"]: row for row in ledger.read()}
    assert rows["pope"]["revision"] == hub_rows.COMMIT
    assert rows["pope"]["rows"] == "6"
    assert rows["textvqa"]["licence"] == "CC-BY-4.0"
    assert all(len(row["sha256"]) == 64 for row in rows.values())


def test_afterwards_jobs_need_no_network(hub, config, monkeypatch):
    list(fetch_config(config("pope", "gqa")))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert len(list(benchmark("pope").load())) == 6
    assert len(list(benchmark("gqa").load())) == 4
    assert hub.asked == []


def test_again_downloads_nothing_and_keeps_the_recorded_commit(hub, config):
    list(fetch_config(config("pope")))
    before = ledger.PATH.read_text()
    hub.commit = NEWER  # upstream moved on
    hub.downloads.clear()
    list(fetch_config(config("pope")))
    assert hub.downloads == []
    assert ledger.PATH.read_text() == before
    origin = benchmark("pope").origin()
    recorded = next(row for row in ledger.read() if row["name"] == "pope")
    assert (origin["revision"], origin["sha256"]) == (hub_rows.COMMIT, recorded["sha256"])


def test_a_tag_is_known_offline_as_well(hub, config, monkeypatch):
    data = {"pope": {"revision": "v1"}}
    list(fetch_config(config("pope", data=data)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    bench = benchmark("pope", data["pope"])
    assert len(list(bench.load())) == 6
    assert bench.origin()["revision"] == hub_rows.COMMIT


def test_a_wrong_revision_is_named(hub, config):
    with pytest.raises(InputError, match=r"dataset 'lmms-lab-encoder/POPE' has no revision 'v2' on the Hub"):
        list(fetch_config(config("pope", data={"pope": {"revision": "v2"}})))


def test_without_a_pin_one_commit_serves_rows_and_provenance(hub, caplog):
    bench = benchmark("pope")
    list(bench.load())
    hub.commit = NEWER  # the branch moves while the step runs
    assert bench.origin()["revision"] == hub_rows.COMMIT
    assert "no revision is pinned; using " + hub_rows.COMMIT in caplog.text


def test_models_load_at_the_recorded_commit_offline(hub, config, monkeypatch):
    """The config names no revision: jobs take the ledger's, or else what the cache calls main."""
    import hawk.steps.session

    list(fetch_config(config("pope")))
    cached = hub.cache / f"models--{MODEL.replace('/', '--')}" / "refs" / "main"
    assert cached.read_text() == hub_rows.COMMIT
    asked = []

    def load(path, **options):
        asked.append((path, options["revision"]))
        raise InputError("far enough")

    monkeypatch.setattr(hawk.steps.session, "load", load)
    section = {"path": MODEL, "revision": None, "dtype": "bfloat16", "attention": "sdpa", "device": "cpu"}
    for given, expected in ((None, hub_rows.COMMIT), (NEWER, NEWER)):
        with pytest.raises(InputError, match="far enough"):
            hawk.steps.session.load_for({"model": {**section, "revision": given, "threads": 1}}, vision=False)
        assert asked.pop() == (MODEL, expected)


def test_an_interrupted_download_is_completed(hub, config, monkeypatch):
    whole = huggingface_hub.snapshot_download

    def broken(repo, **options):
        if "POPE" in repo and "README.md" not in options["allow_patterns"]:
            raise OSError("connection lost")
        return whole(repo, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(InputError, match=r"lmms-lab-encoder/POPE'.*connection lost"):
        list(fetch_config(config("textvqa", "pope")))
    assert {row["name"] for row in ledger.read()} == {"Qwen2.5-VL-7B-Instruct", "textvqa"}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", whole)
    hub.downloads.clear()
    list(fetch_config(config("textvqa", "pope")))
    assert {name.split("/")[1] for name in hub.downloads} == {"POPE"}


def test_a_changed_file_is_refused(hub, config):
    list(fetch_config(config("pope")))
    file = next(hub.cache.rglob("test-00000-of-00001.parquet"))
    hub_rows.write("pope", file.parents[1])
    file.write_bytes(hub_rows.write("chartqa", hub.server / "other").joinpath("data", file.name).read_bytes())
    with pytest.raises(InputError, match=r"checksum is .* broken or was changed: delete"):
        list(fetch_config(config("pope")))


def test_a_revision_of_the_config_wins(hub, config):
    list(fetch_config(config("pope", data={"pope": {"revision": NEWER}})))
    assert {row["name"]: row["revision"] for row in ledger.read()}["pope"] == NEWER


def test_videos_are_unpacked_once(hub, config, tmp_path):
    archive = hub.server / "lmms-eval/Video-MME/videos_chunked_01.zip"
    for number in range(2):
        hub_rows.clip(tmp_path / f"clip{number}.mp4", number)
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(2):
            file.write(tmp_path / f"clip{number}.mp4", f"data/clip{number}.mp4")
    list(fetch_config(config("videomme")))
    samples = list(benchmark("videomme").load())
    names = [sample.video["path"].rpartition("/")[2] for sample in samples]
    assert names == ["clip0.mp4"] * 2 + ["clip1.mp4"] * 2
    assert len({sample.group_id for sample in samples}) == 2
    clip = tmp_path / "home" / "hawk" / "videomme" / "data" / "clip0.mp4"
    stamp = clip.stat().st_mtime_ns
    list(fetch_config(config("videomme")))
    assert clip.stat().st_mtime_ns == stamp


def test_offline_and_not_there(hub, config, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"is not in the Hub cache .* and HF_HUB_OFFLINE is set"):
        list(fetch_config(config("pope")))


@pytest.mark.parametrize("call", ["repo_info", "snapshot_download", "list_repo_files"])
def test_a_lost_connection_is_one_line_whatever_was_asked(hub, config, monkeypatch, call):
    """The client's own errors, of whichever HTTP library it uses, are none of Python's OSErrors."""

    class ConnectError(Exception):
        pass

    def lost(*args, **kwargs):
        raise error

    where = huggingface_hub if call == "snapshot_download" else huggingface_hub.HfApi
    ConnectError.__module__ = "httpx2"
    error = ConnectError("[Errno -2] Name or service not known")
    monkeypatch.setattr(where, call, lost)
    with pytest.raises(InputError, match=r"the connection was lost \(\[Errno -2\] Name .*\)\. Run it again"):
        list(fetch_config(config("pope")))
    error = ZeroDivisionError("a fault of ours stays one")
    with pytest.raises(ZeroDivisionError):
        list(fetch_config(config("pope")))


def test_a_model_without_safetensors_is_refused(hub, config):
    (hub.server / MODEL / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no safetensors file"):
        list(fetch_config(config("pope")))


def test_the_command(hub, config, tmp_path):
    arguments = ["--config", str(config("pope")), "--ledger", str(tmp_path / "own.tsv")]
    done = CliRunner().invoke(fetch, arguments, catch_exceptions=False)
    assert f"dataset pope: lmms-lab-encoder/POPE @ {hub_rows.COMMIT[:12]}" in done.stdout
    assert len(ledger.read(tmp_path / "own.tsv")) == 2
    assert not ledger.PATH.exists()


def test_the_shipped_ledger_lists_every_published_benchmark(monkeypatch):
    monkeypatch.undo()
    rows = {row["name"]: row for row in ledger.read() if row["kind"] == "dataset"}
    for name in hub_rows.TABLES:
        bench = benchmark(name)
        found = rows[name]
        assert found["id"] == bench.hub_id
        assert found["config"] == (bench.hub_config or "")
        assert (found["split"], found["licence"]) == (bench.hub_split, bench.licence)
        assert int(found["rows"]) == bench.published_rows
        assert bool(found["revision"]) == bool(found["sha256"])  # fetched, or not yet


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\r\n", "not a ledger of downloads"),
        (b"name\tkind\nx\ty\n", "not a ledger of downloads; its columns are name, kind, id"),
        (None, "is a folder; give the name of a file"),
        ("\t".join(ledger.COLUMNS).encode() + b"\nx\tmodel\n", "line 2: not 10 columns"),
    ],
)
def test_a_ledger_that_is_none_is_told_before_anything_is_downloaded(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    """A picture ended in a traceback; a folder was found out after the download."""
    path = tmp_path / "versions.tsv"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        next(fetch_config("config", path))


def test_the_shipped_ledger_is_one() -> None:
    assert ledger.read(shipped("data", "versions.tsv"))
