"""Downloads from a local server that cuts, lies and changes its mind; archives that would write outside."""

import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.catalog import download as source_of_downloads
from medshards.curate.catalog.download import download, obstacle
from medshards.curate.catalog.entry import Archive, Entry, load_catalog
from medshards.curate.catalog.fetch import TRIES, fetch
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.curate.tree import open_download

CATALOG = load_catalog()
BODY = np.random.default_rng(0).bytes(3_000_000)


class Server:
    """Serves `files`; every request is noted as (path, Range header)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True  # answers requests for a part
        self.cut: list[int] = []  # bytes after which the next answers end
        self.kind = "application/zip"
        self.requests: list[tuple[str, str | None]] = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        body = self.files.get(request.path.lstrip("/"))
        if body is None:
            request.send_error(404)
            return
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        start = int(re.findall(r"\d+", asked)[0]) if asked else 0
        if asked and self.ranges and request.headers.get("If-Range") in (None, etag):
            if start >= len(body):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(body)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            start = 0
            request.send_response(200)
        request.send_header("Content-Type", self.kind)
        request.send_header("ETag", etag)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        part = body[start : start + self.cut.pop(0)] if self.cut else body[start:]
        self.sent += len(part)
        request.wfile.write(part)

    def archive(self, name: str, body: bytes, **known: Any) -> Archive:
        self.files[name] = body
        return Archive(file=name, url=f"http://127.0.0.1:{self.http.server_port}/{name}", **known)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return stream.getvalue()


def phantom_zip(slug: str, folder: Path) -> bytes:
    write_phantom(slug, folder)
    return zipped(
        {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    )


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# ---- one file ----


def test_a_cut_transfer_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", BODY, sha256=sha256(BODY))
    server.cut = [1_000_000, 700_000]
    assert fetch(archive, tmp_path, pause=0).read_bytes() == BODY
    assert [asked for _, asked in server.requests] == [None, "bytes=1000000-", "bytes=1700000-"]
    assert server.sent == len(BODY), "no byte twice"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    fetch(archive, tmp_path)
    assert len(server.requests) == 3, "what is there is not fetched again"


def test_a_killed_download_goes_on_in_the_next_run(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", BODY)

    def kill(done: int, total: int | None) -> None:
        assert total == len(BODY)
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(archive, tmp_path, kill)
    assert not (tmp_path / "a.zip").exists()
    assert fetch(archive, tmp_path).read_bytes() == BODY
    assert server.requests[1][1] is not None


def test_another_file_at_the_same_place_is_fetched_from_its_beginning(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", BODY)
    server.cut = [1_000_000] * (TRIES + 1)
    server.ranges = False
    with pytest.raises(Reject, match="truncated"):
        fetch(archive, tmp_path, pause=0)
    server.cut, server.ranges = [], True
    server.files["a.zip"] = BODY[::-1]
    assert fetch(archive, tmp_path, pause=0).read_bytes() == BODY[::-1]


def test_a_server_that_cannot_begin_in_the_middle(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [1_000_000]
    assert fetch(server.archive("a.zip", BODY), tmp_path, pause=0).read_bytes() == BODY


def test_what_was_complete_but_not_renamed_is_kept(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", BODY, md5=hashlib.md5(BODY).hexdigest())
    (tmp_path / "a.zip.part").write_bytes(BODY)
    (tmp_path / "a.zip.tag").write_text(f'"{sha256(BODY)[:16]}"')
    assert fetch(archive, tmp_path, pause=0).read_bytes() == BODY
    assert server.sent == 0


def test_a_transfer_that_is_always_cut_at_the_same_byte(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [1_000_000] * 50
    with pytest.raises(
        Reject, match=r"a\.zip: truncated: .* ended at byte 1,000,000 of 3,000,000; 1,000,000 bytes"
    ):
        fetch(server.archive("a.zip", BODY), tmp_path, pause=0)
    assert len(server.requests) == TRIES + 1
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_a_wrong_checksum_is_no_download(server: Server, tmp_path: Path, known: dict[str, str]) -> None:
    with pytest.raises(Reject, match=r"wrong_checksum: .* expected 0000"):
        fetch(server.archive("a.zip", BODY, **known), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip.wrong"]


def test_a_web_page_is_no_file(server: Server, tmp_path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(Reject, match="web_page"):
        fetch(server.archive("a.zip", b"<html>sign in</html>"), tmp_path)
    assert not (tmp_path / "a.zip").exists()


def test_a_missing_file_is_told_at_once(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", BODY)
    server.files.clear()
    with pytest.raises(Reject, match=r"unreachable: .* answers 404"):
        fetch(archive, tmp_path)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", BODY)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(Reject, match="unreachable"):
        fetch(archive, tmp_path, pause=0)


# ---- a dataset ----


def entry_with(*archives: Archive, slug: str = "drive", kind: str = "open") -> Entry:
    access = CATALOG[slug].access.model_copy(update={"kind": kind})
    return CATALOG[slug].model_copy(update={"archives": list(archives), "access": access})


def test_a_dataset_is_unpacked_whole_with_a_record_beside(server: Server, tmp_path: Path) -> None:
    body = phantom_zip("drive", tmp_path / "phantom")
    archive = server.archive("drive.zip", body, sha256=sha256(body))
    raw = tmp_path / "raw"
    download(entry_with(archive), [archive], raw, get_source("drive").layouts)
    assert open_download(raw / "drive", get_source("drive").layouts)
    assert sorted(p.name for p in (raw / "drive").iterdir()) == ["DRIVE"]
    facts = json.loads((raw / "drive.download.json").read_text())
    (file,) = facts["files"]
    assert (file["bytes"], file["sha256"], file["checked_against_catalog"]) == (
        len(body),
        sha256(body),
        ["sha256"],
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["fetched"])
    assert sorted(p.name for p in raw.iterdir()) == ["drive", "drive.download.json"]
    with pytest.raises(Reject, match="exists"):
        download(entry_with(archive), [archive], raw)


@pytest.mark.parametrize(
    "name", ["../../outside.txt", "/tmp/outside.txt", "C:/outside.txt", "a/../../../outside.txt"]
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_members_that_lead_outside_are_refused(server: Server, tmp_path: Path, name: str, form: str) -> None:
    body = zipped({"fine.txt": b"fine", name: b"outside"})
    if form == "tar":
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for member in ("fine.txt", name):
                info = tarfile.TarInfo(member)
                info.size = 4
                tar.addfile(info, io.BytesIO(b"text"))
        body = stream.getvalue()
    archive = server.archive(f"a.{form}", body, sha256=sha256(body))
    raw = tmp_path / "deep/raw"
    before = set(tmp_path.rglob("outside.txt"))
    with pytest.raises(Reject, match="unsafe_archive"):
        download(entry_with(archive), [archive], raw)
    assert not (raw / "drive").exists()
    assert not (raw / "drive.download.json").exists()
    assert set(tmp_path.rglob("outside.txt")) == before == set()
    assert not Path("/tmp/outside.txt").exists()


def test_a_link_in_a_tar_is_refused(server: Server, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        link = tarfile.TarInfo("images")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    archive = server.archive("a.tar.gz", stream.getvalue())
    with pytest.raises(Reject, match="/images: unsafe_archive: is a link"):
        download(entry_with(archive), [archive], tmp_path / "raw")


def test_a_damaged_archive_leaves_nothing_under_the_final_name(server: Server, tmp_path: Path) -> None:
    body = bytearray(phantom_zip("drive", tmp_path / "phantom"))
    body[len(body) // 2 : len(body) // 2 + 200] = bytes(200)
    archive = server.archive("drive.zip", bytes(body))
    with pytest.raises(Reject, match="corrupt_archive"):
        download(entry_with(archive), [archive], tmp_path / "raw")
    assert not (tmp_path / "raw/drive").exists()


def test_what_somebody_else_put_beside_a_transfer_stays(server: Server, tmp_path: Path) -> None:
    archive = server.archive("drive.zip", phantom_zip("drive", tmp_path / "phantom"))
    work = tmp_path / "raw/.download/drive"
    work.mkdir(parents=True)
    (work / "mine.zip").write_bytes(b"took a night to fetch")
    (work / "drive.zip.wrong").write_bytes(b"of an earlier try")
    download(entry_with(archive), [archive], tmp_path / "raw")
    assert [path.name for path in work.iterdir()] == ["mine.zip"]


def test_halves_of_a_dataset_lie_together_and_files_of_one_name_apart(server: Server, tmp_path: Path) -> None:
    halves = [
        server.archive("training.zip", zipped({"training/1.txt": b"1"})),
        server.archive("test.zip", zipped({"test/1.txt": b"2"})),
    ]
    download(entry_with(*halves), halves, tmp_path / "together")
    assert sorted(p.name for p in (tmp_path / "together/drive").iterdir()) == ["test", "training"]
    clash = [
        server.archive("low.zip", zipped({"1.txt": b"low"})),
        server.archive("high.zip", zipped({"1.txt": b"high"})),
    ]
    download(entry_with(*clash), clash, tmp_path / "apart")
    assert (tmp_path / "apart/drive/low/1.txt").read_bytes() == b"low"
    assert (tmp_path / "apart/drive/high/1.txt").read_bytes() == b"high"


def test_a_layout_that_needs_the_archives_names_keeps_their_folders(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "phantom"
    write_phantom("mucic_hl60", folder)
    one = folder / "HL60_LowNoise_C75_3D_HDF5"
    archive = server.archive(f"{one.name}.zip", zipped({f.name: f.read_bytes() for f in one.iterdir()}))
    layouts = get_source("mucic_hl60").layouts
    download(entry_with(archive, slug="mucic_hl60"), [archive], tmp_path / "raw", layouts)
    assert open_download(tmp_path / "raw/mucic_hl60", layouts)


# ---- the command ----

MINE = """\
mine:
  title: Mine
  modality: CT
  role: train
  homepage: https://example.org
  access: {kind: KIND, how: ask me}
  licence: {name: CC BY 4.0, redistribution: "yes", commercial: "yes", certainty: stated}
  citation: {text: me}
  archives: [{file: a.zip, url: "URL", sha256: SHA}, {file: other.zip, url: "URL", optional: true}]
  instances: native
  group: patient
  official: {images: 1}
  verified: "yes"
"""


def run(server: Server, folder: Path, body: bytes, kind: str = "open", sha: str = "") -> tuple[int, str]:
    url = server.archive("a.zip", body).url
    text = MINE.replace("KIND", kind).replace("URL", str(url)).replace("SHA", sha or sha256(body))
    (folder / "mine.yaml").write_text(text)
    words = ["download", "mine", "--raw", str(folder / "raw"), "--catalog", str(folder / "mine.yaml")]
    result = CliRunner().invoke(cli, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


def test_the_command_fetches_what_is_open(server: Server, tmp_path: Path) -> None:
    status, told = run(server, tmp_path, zipped({"1.txt": b"1"}))
    assert status == 0, told
    assert "licence CC BY 4.0 [stated]" in told
    assert (tmp_path / "raw/mine/1.txt").read_bytes() == b"1"
    assert len(server.requests) == 1, "an optional file is not fetched"
    status, told = run(server, tmp_path, zipped({"1.txt": b"1"}))
    assert (status, "exists" in told) == (1, True)


def test_the_command_fails_honestly(server: Server, tmp_path: Path) -> None:
    status, told = run(server, tmp_path, zipped({"1.txt": b"1"}), sha="f" * 64)
    assert (status, "wrong_checksum" in told) == (1, True)
    assert not (tmp_path / "raw/mine").exists()


def test_the_command_tells_what_to_do_by_hand(server: Server, tmp_path: Path) -> None:
    body = zipped({"1.txt": b"1"})
    status, told = run(server, tmp_path, body, kind="registration")
    assert status == 1
    assert server.requests == []
    for words in (
        "an account is needed",
        "https://example.org",
        "ask me",
        "CC BY 4.0",
        f"{tmp_path}/raw/mine",
        "a.zip",
        sha256(body),
    ):
        assert words in told
    assert "other.zip" not in told
    (tmp_path / "raw/mine").mkdir(parents=True)
    (tmp_path / "raw/mine/a.zip").write_bytes(body)
    assert "is there, and is the file expected" in run(server, tmp_path, body, kind="registration")[1]
    (tmp_path / "raw/mine/a.zip").write_bytes(body + b"x")
    assert "is there, and is another file" in run(server, tmp_path, body, kind="registration")[1]


@pytest.mark.parametrize("slug", CATALOG)
def test_every_dataset_is_fetched_or_explained(
    slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the packages for Kaggle and Google Drive are absent; tests/curate/catalog/test_accounts.py has them."""
    monkeypatch.setattr(source_of_downloads, "installed", lambda name: False)
    entry = CATALOG[slug]
    files = [a for a in entry.archives if not a.optional]
    if obstacle(entry, files):
        result = CliRunner().invoke(cli, ["download", slug, "--raw", str(tmp_path)])
        assert result.exit_code == 1
        assert entry.homepage in result.output
        assert all(a.file in result.output for a in files)
    else:
        assert entry.access.kind == "open"
        assert all(a.url for a in files)
