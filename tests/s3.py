"""A real S3 server on loopback that can answer badly, and counts what it sends."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
_number = itertools.count()  # of the bucket: what is uploaded stays as long as the process
READ_TIMEOUT = 2  # s that a client waits for an answer


class Server:
    """``faults``: what goes wrong with one read after the other, again and again: failing, forbidden, slow, silent,
    short, reset.

    ``met``: how often; ``sent``: bytes of answers to reads.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.faults: tuple[str, ...] = ("",)
        self.sent, self.met = 0, Counter[str]()
        self.endpoint = ""

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            return self._application(environ, start)
        with self._lock:
            kind = self.faults[self.met.total() % len(self.faults)]
            self.met[kind] += 1
        if kind == "failing":
            start("500 Internal Server Error", [("Content-Length", "0")])
            return []
        if kind == "forbidden":
            start("403 Forbidden", [("Content-Length", "0")])
            return []
        if kind == "reset":
            at_once = struct.pack("ii", 1, 0)  # closing sends RST
            environ["werkzeug.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            raise ConnectionResetError
        if kind == "slow":
            time.sleep(0.2)
        if kind == "silent":
            time.sleep(READ_TIMEOUT + 1)
        body = b"".join(self._application(environ, start))
        body = body[: len(body) // 2] if kind == "short" else body
        with self._lock:
            self.sent += len(body)
        return [body]


@contextmanager
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose credentials and address are set in the environment; skips where a package is absent."""
    moto = pytest.importorskip("moto.server", reason="moto is absent (pip install -e '.[dev]')")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is absent (pip install -e '.[dev]')")
    pytest.importorskip("flask", reason="flask is absent (pip install -e '.[dev]')")
    from fsspec.config import conf
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *arguments: Any) -> None:
            """Say nothing of requests."""

    server = Server(moto.DomainDispatcherApplication(moto.create_backend_app))
    web = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    server.endpoint = f"http://127.0.0.1:{web.server_port}"
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"read_timeout": READ_TIMEOUT}})
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield server
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        web.shutdown()
        thread.join()


def upload(folder: Path) -> str:
    """Put all files below a folder into a new bucket; returns its URL."""
    import s3fs

    files, bucket = s3fs.S3FileSystem(), f"bucket-{next(_number)}"
    files.mkdir(bucket)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files.pipe_file(f"{bucket}/corpus/{path.relative_to(folder)}", path.read_bytes())
    return f"s3://{bucket}/corpus"
