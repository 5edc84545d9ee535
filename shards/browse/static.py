"""The site as files, for a bucket, a web server, or to be opened from a disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from medshards.shards.browse.site import Site

MARK = ".medshards-site"  # a folder without it is not ours to empty


def write_site(
    site: Site, folder: Path, progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> Path:
    """Write every address of a site as a file below `folder`, which then replaces an earlier site; its first page.

    Raises FileExistsError when the folder holds anything else, BadSample, StoreError.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise FileExistsError(f"{folder} is not empty and no earlier site; choose another --out")
    folder = folder.resolve()
    work = folder.with_name(f".{folder.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        addresses = list(site.addresses())
        for done, address in enumerate(addresses, start=1):
            answer = site.get(address)
            assert answer is not None, address
            path = work / address
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(answer.body)
            progress("files", done, len(addresses))
        (work / MARK).touch()
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder / "index.html"
