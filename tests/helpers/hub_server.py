"""A stand-in of the Hub's HTTP API on loopback: what huggingface_hub's client asks for models, and no more.

Repositories are kept in memory as commits, each a whole set of files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_right"


@dataclass
class Hub:
    """What the server knows. ``drop``: the connection is cut in the middle of every commit.

    Pictures are sent on their own, before the commit, as the Hub asks for binary files.
    ``full``: none is taken.
    """

    endpoint: str = ""
    commits: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)  # repo → commit → files
    heads: dict[str, str] = field(default_factory=dict)  # repo → newest commit
    binary: dict[str, bytes] = field(default_factory=dict)  # SHA-256 → what was sent on its own
    drop: bool = False
    full: bool = False
    asked: list[str] = field(default_factory=list)

    def add(self, repo: str, files: dict[str, bytes]) -> str:
        parent = self.commits.setdefault(repo, {}).get(self.heads.get(repo, ""), {})
        everything = {**parent, **files}
        oid = hashlib.sha1(f"{len(self.commits[repo])}{sorted(everything.items())}".encode()).hexdigest()
        self.commits[repo][oid] = everything
        self.heads[repo] = oid
        return oid


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, content: object = b"", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if name.startswith("others/"):
                self._answer(403, {"error": "You don't have the rights to create a model under others"})
            elif name in self.hub.commits:
                self._answer(409, {"url": f"{self.hub.endpoint}/{name}"})
            else:
                self.hub.add(name, {})
                self._answer(200, {"url": f"{self.hub.endpoint}/{name}"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = ["lfs" if file["path"].endswith(".png") else "regular" for file in files]
            answers = [
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
                for file, mode in zip(files, modes, strict=True)
            ]
            self._answer(200, {"files": answers})
        elif path.endswith(".git/info/lfs/objects/batch"):
            actions = [
                {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/binary/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": actions})
        elif "/commit/" in path:
            if self.hub.drop:
                self.close_connection = True
                self.connection.close()
                return
            repo = path.removeprefix("/api/models/").split("/commit/")[0]
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            sent = [line["value"] for line in lines if line["key"] == "lfsFile"]
            files |= {value["path"]: self.hub.binary[value["oid"]] for value in sent}
            oid = self.hub.add(repo, files)
            url = f"{self.hub.endpoint}/{repo}/commit/{oid}"
            self._answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})
        else:
            self._answer(404, {"error": f"the stand-in has no {path}"})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.full:
            self._answer(403)
            return
        self.hub.binary[hashlib.sha256(body).hexdigest()] = body
        self._answer(200)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        about = path.startswith("/api/models/")  # which commit it is
        repo, _, rest = (
            path.removeprefix("/api/models").lstrip("/").partition("/revision/" if about else "/resolve/")
        )
        revision, _, name = rest.partition("/")
        known = self.hub.commits.get(repo)
        if known is None:
            self._answer(401, b"", X_Error_Message="Invalid username or password.")
            return
        if about:
            self._answer(200, {"id": repo, "sha": self.hub.heads[repo]})
            return
        oid = self.hub.heads[repo] if revision == "main" else revision
        if oid not in known:
            self._answer(404, b"", X_Error_Code="RevisionNotFound")
        elif name not in known[oid]:
            self._answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        else:
            data = known[oid][name]
            tag = f'"{hashlib.sha1(data).hexdigest()}"'
            self._answer(200, data, ETag=tag, X_Repo_Commit=oid)

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
