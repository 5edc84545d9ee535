"""Fetch one file over HTTP: resumed where it was cut off, checked against its digest, never half under its name."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from medshards.curate.catalog.accounts import DRIVE, fetch_from_drive
from medshards.curate.catalog.entry import Archive
from medshards.curate.sample import Reject

Progress = Callable[[int, int | None], None]  # (bytes there, bytes in all where known)
CHUNK = 1 << 20
TIMEOUT = 10  # seconds without a byte, then it is tried again from there
TRIES = 5  # in a row that bring nothing new
BROKEN = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


def fetch(
    archive: Archive,
    folder: Path,
    progress: Progress = lambda done, total: None,
    pause: float = 2.0,
    notice: Callable[[str], None] = lambda line: None,
) -> Path:
    """The file of a catalog entry, fetched from its url into `folder` unless it is there already.

    What has arrived of it lies in NAME.part, and a later call goes on there if the server still has the same file.
    pause: seconds before the second try; they double with each further one. notice: takes a line about each try that
    failed. A file of Google Drive is fetched by gdown.

    Raises Reject: `unreachable`, `truncated`, `web_page` (a page where a file should be), `wrong_checksum` (the file
    is kept as NAME.wrong), `no_space`, `locked`.
    """
    target, part = folder / archive.file, folder / f"{archive.file}.part"
    if target.is_file():
        return target
    assert archive.url is not None
    folder.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Reject("locked", "another download is writing this file", archive.file) from error
        if urlsplit(archive.url).hostname == DRIVE:
            fetch_from_drive(archive, part, progress)
        else:
            _over_http(archive, out, part.with_suffix(".tag"), progress, pause, notice)
    part.with_suffix(".tag").unlink(missing_ok=True)
    _check(archive, part)
    part.replace(target)
    return target


def _over_http(
    archive: Archive,
    out: BinaryIO,
    tag: Path,
    progress: Progress,
    pause: float,
    notice: Callable[[str], None],
) -> None:
    """Append what is missing, in as many tries as bring something new, and a few more. See `fetch`."""
    failures = 0
    while True:
        before = out.tell()
        try:
            _transfer(archive, out, tag, progress)
            return
        except BROKEN as error:
            _give_up_on(error, archive)
            failures = failures + 1 if out.tell() <= before else 0
            if failures >= TRIES:
                code = "truncated" if out.tell() else "unreachable"
                what = (
                    f"{archive.url}: {error}; {out.tell():,} bytes are kept: run the same command again later"
                )
                raise Reject(code, what, archive.file) from error
            notice(f"{archive.file}: {error}; trying again in {pause * 2**failures:.0f} s")
            time.sleep(pause * 2**failures)


def _transfer(archive: Archive, out: BinaryIO, tag: Path, progress: Progress) -> None:
    """Append what is missing; start again where the server has another file, or cannot begin in the middle."""
    have = out.seek(0, os.SEEK_END)
    known = tag.read_text() if tag.is_file() else ""
    headers = {"User-Agent": "medshards", "Accept-Encoding": "identity"}
    if have and known:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(str(archive.url), headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it is there
        if error.code == 416:
            out.truncate(0)
        raise
    with response:
        if response.headers.get_content_type() == "text/html":
            what = f"{archive.url} leads to a web page, not to the file: download it with a browser"
            raise Reject("web_page", what, archive.file)
        start = _start(response) if response.status == 206 else 0
        if start != have:
            out.truncate(start if start < have else 0)
            if start > have:
                raise ConnectionError(f"the server began at byte {start:,} instead of {have:,}")
        tag.write_text(_tag(response))
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        _require_space(out, total, start, archive)
        done = start
        progress(done, total)
        while block := response.read(CHUNK):
            out.write(block)
            out.flush()
            done += len(block)
            progress(done, total)
        if total is not None and done < total:
            raise ConnectionError(f"the connection ended at byte {done:,} of {total:,}")


def _start(response: Any) -> int:
    """The first byte of a partial answer, from "bytes 100-199/200"."""
    return int(response.headers.get("Content-Range", "bytes 0-").split(" ", 1)[1].split("-", 1)[0])


def _tag(response: Any) -> str:
    """What tells this file from a later one at the same place (RFC 9110, 13.1.5); a weak ETag does not."""
    etag = str(response.headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _give_up_on(error: Exception, archive: Archive) -> None:
    """Raise Reject for an answer that another try would not change."""
    if isinstance(error, urllib.error.HTTPError) and error.code in (400, 401, 403, 404, 405, 410, 451):
        what = (
            f"{archive.url} answers {error.code} {error.reason}; see the homepage in `medshards catalog show`"
        )
        raise Reject("unreachable", what, archive.file) from error


def _require_space(out: BinaryIO, total: int | None, start: int, archive: Archive) -> None:
    status = os.fstatvfs(out.fileno())
    free = status.f_bavail * status.f_frsize
    if total is not None and total - start > free:
        raise Reject("no_space", f"needs {total - start:,} bytes more, and {free:,} are free", archive.file)


def _check(archive: Archive, part: Path) -> None:
    """Compare size and digest with the catalog's. Raises Reject (`wrong_checksum`) and keeps the file as NAME.wrong."""
    wanted = {"sha256": archive.sha256, "md5": archive.md5}
    found = digests(part, [name for name, value in wanted.items() if value])
    wrong = [
        f"{name} {found[name]}, expected {wanted[name]}" for name in found if found[name] != wanted[name]
    ]
    size = part.stat().st_size
    if archive.bytes is not None and size != archive.bytes:
        wrong.append(f"{size:,} bytes, expected {archive.bytes:,}")
    if wrong:
        kept = part.with_suffix(".wrong")
        part.replace(kept)
        what = (
            f"{'; '.join(wrong)}. It is kept as {kept}; the publisher may have replaced it, or it was damaged"
        )
        raise Reject("wrong_checksum", what, archive.file)


def digests(path: Path, names: list[str]) -> dict[str, str]:
    """Digests (hex) of a file by name of the algorithm, in one reading."""
    found = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            for digest in found.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in found.items()}
