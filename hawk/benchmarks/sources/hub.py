"""Parquet files of a dataset repository on the Hub: at one revision, from the network or the cache.

Only the files of the wanted split are downloaded (TextVQA's validation split is a tenth of its
repository), and they are read as they are, so that image bytes stay those of the repository.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from hawk.core.atomic import write_text
from hawk.core.errors import InputError
from hawk.core.hub import in_one_line

log = logging.getLogger(__name__)

_SHA = re.compile(r"[0-9a-f]{40}")


def offline() -> bool:
    from huggingface_hub import constants

    return (
        constants.is_offline_mode()
        if hasattr(constants, "is_offline_mode")
        else bool(constants.HF_HUB_OFFLINE)
    )


def commit(repo: str, revision: str | None, repo_type: str = "dataset") -> str:
    """The commit that a revision names; offline, the one that it named when it was last asked for."""
    if revision and _SHA.fullmatch(revision):
        return revision
    name = revision or "main"
    if offline():
        return _cached_commit(repo, name, repo_type)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    with in_one_line(f"{repo_type} {repo!r}: the Hub cannot be reached"):
        try:
            sha = str(HfApi().repo_info(repo, repo_type=repo_type, revision=name).sha)
        except RevisionNotFoundError:
            raise InputError(f"{repo_type} {repo!r} has no revision {name!r} on the Hub.") from None
        except RepositoryNotFoundError:
            raise InputError(f"{repo_type} {repo!r} is not on the Hub, or needs a login.") from None
    if revision is None:
        log.warning("%s: no revision is pinned; using %s", repo, sha)
    # Files are then asked for by commit, of which the cache keeps no name; offline jobs need it.
    write_text(_ref(repo, name, repo_type), sha)
    return sha


def _ref(repo: str, name: str, repo_type: str) -> Path:
    """Where the Hub's cache says which commit a branch or tag is."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{repo_type}s--{repo.replace('/', '--')}" / "refs" / name


def _cached_commit(repo: str, name: str, repo_type: str) -> str:
    from huggingface_hub import constants

    ref = _ref(repo, name, repo_type)
    if ref.is_file():
        return ref.read_text().strip()
    raise InputError(
        f"{repo_type} {repo!r} at {name!r} is not in the Hub cache ({constants.HF_HUB_CACHE}) and "
        "HF_HUB_OFFLINE is set. Run `hawk fetch` where there is a network."
    )


def parquet_files(repo: str, config: str | None, split: str, revision: str) -> list[Path]:
    """Local paths of one split's parquet files, downloaded first if the network is there."""
    if offline():
        root = snapshot(repo, revision, None)
        names = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.parquet"))]
    else:
        root = snapshot(repo, revision, ["README.md"])
        names = _listed(repo, revision)
    wanted = split_files(names, _declared(root / "README.md"), config, split)
    if not wanted:
        raise InputError(
            f"dataset {repo!r} at {revision[:12]}: no parquet file of config "
            f"{config or 'default'!r}, split {split!r}. It has: {', '.join(names[:20]) or 'none'}."
        )
    if not offline():
        root = snapshot(repo, revision, wanted)
    return [root / name for name in wanted]


def snapshot(repo: str, revision: str, patterns: list[str] | None, repo_type: str = "dataset") -> Path:
    """The folder of a repository's files at a commit, with those that match ``patterns`` present."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

    with in_one_line(f"{repo_type} {repo!r}: the download failed"):
        try:
            root = snapshot_download(repo, repo_type=repo_type, revision=revision, allow_patterns=patterns)
        except LocalEntryNotFoundError:
            raise InputError(
                f"{repo_type} {repo!r} at {revision[:12]} is not in the Hub cache and cannot be "
                "downloaded now. Run `hawk fetch` where there is a network."
            ) from None
        except RevisionNotFoundError:
            raise InputError(f"{repo_type} {repo!r} has no revision {revision!r} on the Hub.") from None
    return Path(root)


def _listed(repo: str, revision: str) -> list[str]:
    from huggingface_hub import HfApi

    with in_one_line(f"dataset {repo!r}: its files cannot be listed"):
        return sorted(HfApi().list_repo_files(repo, repo_type="dataset", revision=revision))


def _declared(readme: Path) -> list[dict[str, Any]]:
    """The ``configs`` of a dataset card's front matter; empty where it declares none."""
    if not readme.is_file():
        return []
    match = re.match(r"---\s*\n(.*?)\n---", readme.read_text(encoding="utf-8"), re.DOTALL)
    head = yaml.safe_load(match.group(1)) if match else {}
    configs = (head or {}).get("configs", [])
    return [entry for entry in configs if isinstance(entry, dict)]


def split_files(
    names: Iterable[str], declared: list[dict[str, Any]], config: str | None, split: str
) -> list[str]:
    """Which of a repository's files belong to a split: as its card says, else by their names."""
    parquet = sorted(name for name in names if name.endswith(".parquet"))
    patterns = []
    for listed in declared:
        if listed.get("config_name", "default") != (config or "default"):
            continue
        files = listed.get("data_files", [])
        for entry in files if isinstance(files, list) else []:
            if isinstance(entry, dict) and entry.get("split") == split:
                path = entry.get("path", [])
                patterns += path if isinstance(path, list) else [path]
    if patterns:
        return [name for name in parquet if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    folders = {config} if config else {"", "data", "default"}
    return [
        name
        for name in parquet
        if PurePosixPath(name).name.startswith((f"{split}-", f"{split}."))
        and str(PurePosixPath(name).parent).replace(".", "", 1) in folders
    ]
