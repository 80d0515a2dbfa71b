"""Head weights on the Hugging Face Hub: upload with a card, download at a pinned revision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hawk.core.errors import InputError

WEIGHTS_FILE, CARD_FILE, PICTURE_FILE = "head_weights.json", "README.md", "heads.png"


def upload(
    repo_id: str, files: Mapping[str, bytes], message: str, private: bool | None, token: str | None
) -> str:
    """Files in one commit, the repository made if need be; returns the commit's id.

    One commit: an upload that is interrupted leaves nothing behind. Raises InputError.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token)
    with in_one_line(f"head weights were not uploaded to {repo_id!r}"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
        return str(api.create_commit(repo_id, added, commit_message=message).oid)


def download(repo_id: str, revision: str | None, instead: str) -> Path:
    """The weight file of a repository, at a commit, branch or tag; what a machine has is not asked for again.

    instead: what the source could also have been, for the message.
    """
    from huggingface_hub import hf_hub_download

    at = f" at revision {revision!r}" if revision else ""
    about = f"head weights {repo_id!r}: {instead}, and {WEIGHTS_FILE}{at} cannot be had from the Hub"
    with in_one_line(about):
        return Path(hf_hub_download(repo_id, WEIGHTS_FILE, revision=revision))


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Whatever the Hub's client raises as one line that begins with ``what``."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # While a binary file is sent, the client wraps whatever happens.
        wrapped = error.__cause__ if type(error) is RuntimeError else None
        said = _said(wrapped or error)
        if said is None:
            raise
        raise InputError(f"{what}: {said}") from None


def _said(error: BaseException) -> str | None:
    """What the Hub's client means; None for an error of somebody else's."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if isinstance(error, HfHubHTTPError):
        return _reason(error)
    if isinstance(error, HFValidationError | OSError | ValueError):  # no such name, no token, offline
        return first_line(error)
    if type(error).__module__.startswith(("httpx", "httpcore", "huggingface_hub")):
        return f"the connection was lost ({first_line(error)}). Run it again."
    return None


def _reason(error: Exception) -> str:
    """The status and what it means, rather than the client's paragraphs."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    code = getattr(response, "headers", {}).get("X-Error-Code")
    meaning = {
        "GatedRepo": "its owner must allow the access first: ask for it on the repository's page",
        "RepoNotFound": "no such repository, or the token may not see it",
        "RevisionNotFound": "the repository has no such revision",
        "EntryNotFound": "the repository has no such file",
    }.get(code or "") or {
        401: "the token is missing or wrong (hf auth login, or HF_TOKEN), or there is no such repository",
        403: "the token may not do that; it needs the right to write to this repository",
        404: "no such repository, revision or file",
    }.get(status or 0)
    return f"{status}, {meaning}" if meaning else first_line(error)


def first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
