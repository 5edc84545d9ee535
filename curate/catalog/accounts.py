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
    """Fetch and unpack all files of a dataset that lies on Kaggle into `folder`; its handle there, with the version.

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
        what = " ".join(str(error).split()) or type(error).__name__
        rules = " and accept the rules of the competition" if kind == "competitions" else ""
        advice = f"log in to Kaggle (kagglehub.login(), or ~/.kaggle){rules}: {entry.homepage}"
        raise Reject("unreachable", f"Kaggle: {what}; {advice}") from error
    return f"kaggle:{handle}"


def fetch_from_drive(archive: Archive, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Fetch a file of Google Drive into `part`, from where an earlier try ended. Raises Reject (`unreachable`)."""
    drive: Any = importlib.import_module("gdown")
    try:
        drive.download(archive.url, str(part), quiet=True, resume=True, progress=progress)
    except Exception as error:  # whatever gdown, requests or the service raise
        what = " ".join(str(error).split()) or type(error).__name__
        raise Reject("unreachable", f"{archive.url}: {what}", archive.file) from error
    if not part.is_file():
        raise Reject("unreachable", f"{archive.url}: Google Drive gave no file", archive.file)
