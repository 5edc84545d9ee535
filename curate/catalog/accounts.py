"""Hosts that want a user's own account or a click: Kaggle through kagglehub, Google Drive through gdown.

Both are optional (`pip install 'medshards[download]'`) and use the credentials that the user gave them; none pass
through here.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medshards.curate.catalog.entry import Archive, Entry
from medshards.curate.sample import Reject

KAGGLE = re.compile(r"https://www\.kaggle\.com/(datasets|competitions)/([^/?#]+(?:/[^/?#]+)?)")
DRIVE = "drive.google.com"
EXTRA = "pip install 'medshards[download]'"


def kaggle_of(entry: Entry) -> tuple[str, str] | None:
    """What Kaggle calls a dataset that lies there: ("datasets", "owner/name") or ("competitions", "name"), or None."""
    found = KAGGLE.match(entry.homepage)
    return (found[1], found[2]) if found else None


def installed(name: str) -> bool:
    """Whether the package of a back end is there."""
    return importlib.util.find_spec(name) is not None


def fetch_from_kaggle(entry: Entry, folder: Path) -> str:
    """Fetch and unpack all files of a dataset that lies on Kaggle into `folder`; what it is called there.

    Raises Reject (`unreachable`), with what Kaggle answered and what to do.
    """
    found = kaggle_of(entry)
    assert found is not None
    kind, handle = found
    hub: Any = importlib.import_module("kagglehub")
    get = hub.dataset_download if kind == "datasets" else hub.competition_download
    folder.mkdir(parents=True, exist_ok=True)
    try:
        get(handle, output_dir=str(folder))
    except Exception as error:  # whatever kagglehub, requests or the service raise
        rules = " and accept the rules of the competition" if kind == "competitions" else ""
        advice = f"log in to Kaggle (kagglehub.login(), or ~/.kaggle){rules}: {entry.homepage}"
        raise Reject("unreachable", f"Kaggle: {_said(error)}; {advice}") from error
    return f"kaggle:{handle}"


def fetch_from_drive(archive: Archive, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Fetch a file of Google Drive into `part`, from where an earlier try ended. Raises Reject (`unreachable`)."""
    drive: Any = importlib.import_module("gdown")
    whole = part.with_suffix(".drive")  # not `part`: gdown takes a file that is there for the whole one
    try:
        drive.download(archive.url, str(whole), quiet=True, resume=True, progress=progress)
    except Exception as error:  # whatever gdown, requests or the service raise
        raise Reject("unreachable", f"{archive.url}: {_said(error)}", archive.file) from error
    if not whole.is_file():
        raise Reject("unreachable", f"{archive.url}: Google Drive gave no file", archive.file)
    whole.replace(part)


def _said(error: Exception) -> str:
    """What an error of somebody else's code says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
