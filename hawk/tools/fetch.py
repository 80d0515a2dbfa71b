"""The step behind ``hawk fetch``: download all that a run needs, check it, write it down.

Runs where there is a network (a login node). Downloads go to the Hub cache, resume where they were
interrupted and show progress; afterwards jobs run with ``HF_HUB_OFFLINE=1``. Every repository's
commit and checksum go into ``data/versions.tsv``, and later runs use that commit.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hawk.benchmarks import benchmark
from hawk.benchmarks.bases.dataset import DatasetBenchmark
from hawk.benchmarks.bases.video import VideoBenchmark
from hawk.benchmarks.sources import hub
from hawk.benchmarks.sources.tables import files_hash, root_of
from hawk.config.load import load_config
from hawk.core import ledger
from hawk.core.errors import InputError
from hawk.core.shipped import resolve

log = logging.getLogger(__name__)

# Of a model's repository: weights as safetensors, and everything that is no weights.
MODEL_FILES = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model"]


def fetch_config(config: str | Path, path: Path | None = None) -> Iterator[dict[str, str]]:
    """Fetch a config's model and benchmarks; yields each entry of the ledger once it is there."""
    settings = load_config(config)
    ledger.read(path)  # one that cannot be read is told before anything is downloaded
    entry = fetch_model(settings["model"], path)
    if entry:
        yield entry
    names = [*settings["calibration"]["benchmarks"], *settings["evaluation"]["benchmarks"]]
    for name in dict.fromkeys(names):
        bench = benchmark(name, settings["data"].get(name))
        entry = fetch_benchmark(bench, path) if isinstance(bench, DatasetBenchmark) else None
        if entry:
            yield entry
        else:
            log.info("%s is local; nothing to fetch", name)


def fetch_model(model: Mapping[str, Any], path: Path | None = None) -> dict[str, str] | None:
    repo = model["path"]
    if Path(resolve(repo)).is_dir():
        return None
    recorded = _recorded("model", repo, path)
    revision = hub.commit(repo, model["revision"] or recorded.get("revision"), "model")
    root = hub.snapshot(repo, revision, MODEL_FILES, "model")
    files = sorted(file for file in root.rglob("*") if file.is_file())
    if not any(file.suffix == ".safetensors" for file in files):
        raise InputError(f"model {repo!r} at {revision[:12]} has no safetensors file.")
    entry = {"name": repo.split("/")[-1], "kind": "model", "id": repo, "revision": revision}
    return _write(entry, root, files, path)


def fetch_benchmark(bench: DatasetBenchmark, path: Path | None = None) -> dict[str, str] | None:
    """Download a benchmark's split (and videos); None where its source is a local file."""
    source = bench.source()
    if source.kind != "hub":
        return None
    files = list(bench.files())
    rows = _rows(bench, source.files)
    if isinstance(bench, VideoBenchmark):
        files += bench.fetch_videos()
    entry = {
        "name": bench.name,
        "kind": "dataset",
        "id": str(source.described["id"]),
        "config": source.described["config"] or "",
        "split": str(source.described["split"]),
        "revision": str(source.described["revision"]),
        "rows": str(rows),
        "licence": bench.licence,
    }
    return _write(entry, root_of(files, entry["revision"]), files, path)


def _rows(bench: DatasetBenchmark, files: Sequence[Path]) -> int:
    """Rows of the split; another number than the published is said, for numbers will differ."""
    rows = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
    if rows != bench.published_rows:
        log.warning("%s: %d rows, %d are published", bench.name, rows, bench.published_rows)
    return rows


def _recorded(kind: str, repo: str, path: Path | None) -> dict[str, str]:
    return next((row for row in ledger.read(path) if (row["kind"], row["id"]) == (kind, repo)), {})


def _write(entry: Mapping[str, str], root: Path, files: Sequence[Path], path: Path | None) -> dict[str, str]:
    """Record an entry; the same commit with another checksum is a broken download."""
    checksum = files_hash(root, files)
    places = ("kind", "name", "id", "config", "split", "revision")
    for old in ledger.read(path):
        same = all(old[key] == entry.get(key, "") for key in places)
        if same and old["sha256"] and old["sha256"] != checksum:
            raise InputError(
                f"{entry['kind']} {entry['id']!r} at {entry['revision'][:12]}: the files' checksum is "
                f"{checksum[:16]}…, {path or ledger.PATH} has {old['sha256'][:16]}…. A download is broken "
                f"or was changed: delete {root} and fetch again."
            )
        if same and old["sha256"]:
            return old
    today = datetime.date.today().isoformat()
    full = {**dict.fromkeys(ledger.COLUMNS, ""), **entry, "sha256": checksum, "added": today}
    ledger.record(full, path)
    return full
