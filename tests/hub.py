"""A stand-in for the Hugging Face Hub on loopback: repositories in memory, the requests that `huggingface_hub` makes.

Commits are atomic and uploads of large files are kept by digest, as on the Hub; it can fail at any of them.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_loopback"
LARGE = (".tar", ".parquet", ".png", ".safetensors", ".pt")  # kept by LFS


def git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    """commits: files of each, the last is the newest."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[name] = files
        return name


class Hub:
    """repos by "datasets/owner/name" or "models/owner/name". uploads: large files by digest, committed or not.

    failing(kind, path): whether a request of a kind (upload, commit, download, …) ends in an error of the server;
    met: how many of each kind came. damaged: name of a file that is sent with a byte changed.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, bytes] = {}
        self.failing: Callable[[str, str], bool] = lambda kind, path: False
        self.met: Counter[str] = Counter()
        self.damaged = ""
        self.endpoint = ""
        self.lock = threading.Lock()

    def dataset(self, name: str) -> Repo:
        return self.repos[f"datasets/{name}"]

    def model(self, name: str) -> Repo:
        return self.repos[f"models/{name}"]


class Answer(Exception):
    """What a request is answered with."""

    def __init__(self, status: int, body: Any = b"", **headers: str) -> None:
        self.status, self.headers = status, headers
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: Any) -> None:
        """Say nothing of requests."""

    def answer(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        try:
            with self.hub.lock:
                for pattern, kind, act in ROUTES:
                    if found := re.fullmatch(pattern, path):
                        self.hub.met[kind] += self.command != "HEAD"
                        if kind != "upload" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                            raise Answer(401, {"error": "Invalid username or password."})
                        if self.hub.failing(kind, path):
                            raise Answer(400, {"error": f"injected failure of {kind}"})
                        act(self.hub, data, *found.groups())
            raise Answer(404, {"error": f"no such page: {path}"})
        except Answer as answer:
            if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or ""):
                first, last = map(int, asked.groups())
                answer.status, answer.body = 206, answer.body[first : last + 1]
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_HEAD = answer


def repo_of(hub: Hub, kind: str, name: str) -> Repo:
    try:
        return hub.repos[f"{kind or 'models/'}{name}"]
    except KeyError:
        raise Answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound") from None


def create(hub: Hub, data: bytes) -> None:
    told = json.loads(data)
    name = f"{told.get('type', 'model')}s/{told['organization']}/{told['name']}"
    if name in hub.repos:
        raise Answer(409, {"error": "You already created this repo"})
    hub.repos[name] = Repo(told.get("visibility") == "private" or bool(told.get("private")))
    hub.repos[name].commit({".gitattributes": b"*.tar filter=lfs\n"})
    raise Answer(200, {"url": f"{hub.endpoint}/{name}", "name": name})


def validate(hub: Hub, data: bytes) -> None:
    raise Answer(200, {"warnings": [], "errors": []})


def info(hub: Hub, data: bytes, kind: str, name: str, revision: str | None) -> None:
    repo = repo_of(hub, f"{kind}/", name)
    if revision not in (None, "main", *repo.commits):
        raise Answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
    sha = repo.head if revision in (None, "main") else revision
    raise Answer(200, {"id": name, "sha": sha, "private": repo.private, "siblings": [], "tags": []})


def preupload(hub: Hub, data: bytes, kind: str, name: str) -> None:
    files = [
        {
            "path": each["path"],
            "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
            "shouldIgnore": False,
        }
        for each in json.loads(data)["files"]
    ]
    raise Answer(200, {"files": files})


def batch(hub: Hub, data: bytes, kind: str, name: str) -> None:
    repo_of(hub, kind, name)
    objects: list[dict[str, Any]] = []
    for each in json.loads(data)["objects"]:
        objects.append({"oid": each["oid"], "size": each["size"]})
        if each["oid"] not in hub.uploads:
            objects[-1]["actions"] = {
                "upload": {"href": f"{hub.endpoint}/upload/{each['oid']}", "header": {}}
            }
    raise Answer(200, {"transfer": "basic", "objects": objects})


def upload(hub: Hub, data: bytes, digest: str) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise Answer(400, {"error": "other content"})
    hub.uploads[digest] = data
    raise Answer(200)


def commit(hub: Hub, data: bytes, kind: str, name: str) -> None:
    repo = repo_of(hub, f"{kind}/", name)
    files = dict(repo.files)
    for line in data.splitlines():
        told = json.loads(line)
        value = told["value"]
        if told["key"] == "header" and value.get("parentCommit", repo.head) != repo.head:
            raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        if told["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif told["key"] == "lfsFile":
            files[value["path"]] = hub.uploads[value["oid"]]
        elif told["key"] == "deletedFile":
            del files[value["path"]]
    oid = repo.commit(files)
    raise Answer(200, {"commitUrl": f"{hub.endpoint}/{name}/commit/{oid}", "commitOid": oid})


def tree(hub: Hub, data: bytes, kind: str, name: str, revision: str) -> None:
    listed: list[dict[str, Any]] = []
    repo = repo_of(hub, f"{kind}/", name)
    for path, content in repo.commits[repo.head if revision == "main" else revision].items():
        listed.append({"type": "file", "path": path, "size": len(content), "oid": git_digest(content)})
        if path.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            listed[-1]["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    raise Answer(200, listed)


def resolve(hub: Hub, data: bytes, kind: str | None, name: str, revision: str, path: str) -> None:
    repo = repo_of(hub, kind or "", name)
    content = repo.commits[repo.head if revision == "main" else revision].get(path)
    if content is None:
        raise Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
    digest = hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else git_digest(content)
    if path == hub.damaged:
        content = bytes([content[0] ^ 1]) + content[1:]
    raise Answer(200, content, ETag=f'"{digest}"', X_Repo_Commit=revision)


KIND, NAME = "(datasets|models)", r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("/api/repos/create", "create", create),
    ("/api/validate-yaml", "validate", validate),
    (f"/api/{KIND}/{NAME}/preupload/.*", "preupload", preupload),
    (f"/api/{KIND}/{NAME}/commit/main", "commit", commit),
    (f"/api/{KIND}/{NAME}/tree/([^/]+)", "tree", tree),
    (f"/api/{KIND}/{NAME}(?:/revision/(.+))?", "info", info),
    (rf"/(datasets/)?{NAME}\.git/info/lfs/objects/batch", "batch", batch),
    ("/upload/([0-9a-f]+)", "upload", upload),
    (f"/(datasets/)?{NAME}/resolve/([^/]+)/(.+)", "download", resolve),
]


@contextmanager
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that `huggingface_hub` takes for the real one; skips where that is absent."""
    client = pytest.importorskip(
        "huggingface_hub.constants", reason="huggingface_hub is absent (pip install -e '.[dev]')"
    )
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    pages = client.HUGGINGFACE_CO_URL_TEMPLATE.replace(client.ENDPOINT, hub.endpoint)
    monkeypatch.setattr(client, "HUGGINGFACE_CO_URL_TEMPLATE", pages)
    monkeypatch.setattr(client, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(client, "HF_HUB_DISABLE_XET", True)  # whose servers are others
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    files = importlib.import_module("huggingface_hub").HfFileSystem
    files.clear_instance_cache()  # an instance keeps the address
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        files.clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()
