"""Where `build` puts a corpus: into a folder, from there to a URL as well, or to a URL by way of a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import click

from medshards.common.commands import LocalPath
from medshards.common.files import is_url, local_path
from medshards.curate.unpack import cache_folder
from medshards.shards.share import bucket
from medshards.shards.share.bucket import Progress, Uploaded

OPTIONS = (
    click.option(
        "--out", "place", required=True, help="Folder of the corpus, or its URL (s3://bucket/corpus)."
    ),
    click.option(
        "--stage",
        type=LocalPath(),
        help="With --out URL: folder in which datasets are built, to be sent from there.  [default: in "
        "$MEDSHARDS_CACHE]",
    ),
    click.option(
        "--upload",
        "copy",
        metavar="URL",
        help="Bring the corpus in --out DIR to this URL, too, as it is; corpus.json comes last.",
    ),
)


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where a corpus goes."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Target:
    """place: the corpus, as the user names it. out: the folder in which datasets are built.

    url: where they are brought then, "" for nowhere. copied: what is there becomes what is in the folder; otherwise the
    datasets that were built are added to the corpus there.
    """

    place: str
    out: Path
    url: str
    copied: bool

    @classmethod
    def of(cls, place: str, stage: Path | None, copy: str | None) -> Target:
        """What the options say. Raises click.UsageError."""
        if is_url(place):
            if copy is not None:
                raise click.UsageError("--upload goes with --out DIR; a corpus at a URL is sent anyway")
            url = place.rstrip("/")
            return cls(url, stage or cache_folder() / "stages" / quote(url, safe=""), url, False)
        if stage is not None:
            raise click.UsageError("--stage goes with --out URL")
        if copy is not None and not is_url(copy):
            raise click.UsageError(f"--upload {copy}: expected a URL such as s3://bucket/corpus")
        try:
            return cls(place, local_path(place), copy or "", True)
        except ValueError as error:
            raise click.UsageError(f"--out: {error}") from error

    def known(self) -> Path:
        """A folder with corpus.json and the manifests of the corpus as it is now. Raises OSError (StoreError)."""
        return self.out if self.copied else bucket.look(self.out, self.url)

    def claimed(self, slug: str) -> AbstractContextManager[None]:
        """Keep other builds of a dataset into a corpus at a URL away. Raises Reject `locked`, OSError (StoreError)."""
        return nullcontext() if self.copied else bucket.claimed(self.out, self.url, slug)

    def bring(self, slugs: Sequence[str], seal: Callable[[Path], object], progress: Progress) -> Uploaded:
        """Bring what was built to the URL; slugs, seal: as `bucket.add` takes them."""
        if self.copied:
            return bucket.upload(self.out, self.url, progress)
        return bucket.add(self.out, self.url, slugs, seal, progress)
