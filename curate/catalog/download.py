"""Get a dataset: fetch and unpack what is openly reachable, say exactly what to do where it is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medshards.common.files import write_atomically
from medshards.curate.catalog.accounts import DRIVE, EXTRA, fetch_from_kaggle, installed, kaggle_of
from medshards.curate.catalog.entry import Archive, Entry
from medshards.curate.catalog.fetch import digests, fetch
from medshards.curate.sample import Reject
from medshards.curate.tree import Layout, list_files, recognise
from medshards.curate.unpack import CLOSED, SUFFIXES, extract

PAGES = (DRIVE, "dropbox.com", "www.dropbox.com")  # their links lead to a page with a button
Report = Callable[[str, int, int | None], None]  # (file, bytes there, bytes in all where known)


def obstacle(entry: Entry, files: Sequence[Archive]) -> str:
    """Why a dataset has to be fetched by hand, "" when all or some of its files can be fetched here."""
    if kaggle_of(entry):
        return "" if installed("kagglehub") else f"it lies on Kaggle, which needs an account and {EXTRA}"
    if entry.access.kind != "open":
        return {
            "registration": "an account is needed",
            "request": "the data has to be requested",
            "unpublished": "the data is not published",
        }[entry.access.kind]
    if not files:
        return "no list of its files is known"
    hindered = [hindrance(archive) for archive in files]
    return hindered[0] if all(hindered) else ""


def hindrance(archive: Archive) -> str:
    """Why a file has to be fetched by hand, "" when it can be fetched here."""
    if archive.url is None:
        return f"no direct link to {archive.file} is known"
    host = urlsplit(archive.url).hostname
    if host in PAGES and not (host == DRIVE and installed("gdown")):
        by = f" (or {EXTRA})" if host == DRIVE else ""
        return f"the link to {archive.file} leads to a web page{by}"
    if archive.file.lower().endswith(CLOSED):
        return f"{archive.file} cannot be unpacked here"
    return ""


def download(
    entry: Entry,
    files: Sequence[Archive],
    raw: Path,
    layouts: tuple[Layout, ...] = (),
    report: Report = lambda file, done, total: None,
    pause: float = 2.0,
    notice: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Fetch the files and unpack them into RAW/SLUG, which appears when all is there.

    Beside it RAW/SLUG.download.json says what was fetched, from where and when (the only clock in all of medshards'
    files: it is no part of a corpus); its content comes back. Until then everything lies in RAW/.download/SLUG, from
    where a later call goes on. layouts: how the converter expects several archives to lie.

    Raises Reject as `fetch`, `fetch_from_kaggle` and `unpack`, and `exists` when RAW/SLUG is there.
    """
    target, work = raw / entry.slug, raw / ".download" / entry.slug
    if target.exists():
        raise Reject("exists", f"{target} is there already; remove it, or choose another --raw")
    unpacked = work / "unpacked"
    paths: list[Path] = []
    if kaggle_of(entry):
        rows = [_whole(fetch_from_kaggle(entry, unpacked), entry, unpacked)]
    else:
        paths = [fetch(archive, work, partial(report, archive.file), pause, notice) for archive in files]
        rows = [_facts(archive, path) for archive, path in zip(files, paths, strict=True)]
        _unpack(paths, unpacked, layouts)
    facts = {
        "dataset": entry.slug,
        "homepage": entry.homepage,
        "licence": entry.licence.name,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": rows,
    }
    unpacked.replace(target)
    record = raw / f"{entry.slug}.download.json"
    write_atomically(record, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    for path in paths:
        path.unlink()
        path.with_name(f"{path.name}.wrong").unlink(missing_ok=True)
    for folder in (work, work.parent):
        if not any(folder.iterdir()):  # what somebody else put there stays
            folder.rmdir()
    return facts


def _unpack(paths: Sequence[Path], unpacked: Path, layouts: tuple[Layout, ...]) -> None:
    """What the files hold, in the folder `unpacked`, which is emptied first."""
    shutil.rmtree(unpacked, ignore_errors=True)
    for path in paths:
        if path.name.lower().endswith(SUFFIXES):
            extract(path, unpacked / _stem(path.name))
        else:
            unpacked.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, unpacked / path.name)
    _lay_together(unpacked, layouts)


def _whole(handle: str, entry: Entry, folder: Path) -> dict[str, Any]:
    """The row of a dataset that came as a whole, already unpacked."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "file": handle,
        "url": entry.homepage,
        "bytes": size,
        "sha256": None,
        "checked_against_catalog": [],
    }


def _facts(archive: Archive, path: Path) -> dict[str, Any]:
    checked = [name for name in ("sha256", "md5") if getattr(archive, name)]
    return {
        "file": archive.file,
        "url": archive.url,
        "bytes": path.stat().st_size,
        "sha256": digests(path, ["sha256"])["sha256"],
        "checked_against_catalog": checked,
    }


def _stem(name: str) -> str:
    suffix = next(s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s))
    return name[: -len(suffix)]


def _lay_together(folder: Path, layouts: tuple[Layout, ...]) -> None:
    """Take what was unpacked out of the folders named after the archives, unless the dataset needs these.

    It does where two archives hold files of one name, and where a layout fits with these folders alone.
    """
    apart = list_files(folder)
    together = {name.split("/", 1)[-1]: file for name, file in apart.items()}
    if len(together) < len(apart) or (recognise(apart, layouts) and not recognise(together, layouts)):
        return
    moved = folder.with_name("together")
    shutil.rmtree(moved, ignore_errors=True)
    for name, file in together.items():
        (moved / name).parent.mkdir(parents=True, exist_ok=True)
        file.path.replace(moved / name)
    shutil.rmtree(folder)
    moved.replace(folder)


def by_hand(entry: Entry, files: Sequence[Archive], raw: Path, why: str) -> list[str]:
    """What to do to get a dataset that cannot be fetched here, a line each."""
    licence, target = entry.licence, raw / entry.slug
    lines = [
        f"{entry.slug} cannot be fetched from here: {why}.",
        f"1. Go to {entry.homepage}",
        f"   {entry.access.how}",
        f"2. Read and accept its licence: {licence.name} [{licence.certainty}]"
        + (f". {licence.note}" if licence.note else ""),
        f"   redistribution: {licence.redistribution}; commercial use: {licence.commercial}",
        f"3. Put into {target}, as downloaded:"
        if files
        else f"3. Put the files into {target}, as downloaded.",
    ]
    for archive in files:
        lines.append(f"   {archive.file}{f'  from {archive.url}' if archive.url else ''}")
        lines.append(f"     {_state(archive, target / archive.file)}")
        if archive.file.lower().endswith(CLOSED):
            lines.append("     and unpack it there")
    lines.append(f"4. medshards inspect {entry.slug} --raw {raw}")
    return [line for line in lines if line.strip()]


def _state(archive: Archive, path: Path) -> str:
    """Whether a file is there, and is the one that the catalog knows."""
    wanted = {name: value for name in ("sha256", "md5") if (value := getattr(archive, name))}
    told = ", ".join(f"{name} {value}" for name, value in wanted.items()) or "no checksum is known"
    if not path.is_file():
        return told
    if not wanted:
        return "is there; no checksum is known"
    found = digests(path, list(wanted))
    return (
        "is there, and is the file expected"
        if found == wanted
        else f"is there, and is another file: expected {told}"
    )
