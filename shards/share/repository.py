"""A repository of the Hugging Face Hub: files that are brought there in one commit, and fetched and compared.

The commit is what makes files visible, all or none. Before it large files are uploaded; the Hub knows them by their
digest, so after an interruption they are not sent again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash
from huggingface_hub.utils.tqdm import disable_progress_bars

from medshards.common.files import sha256_file

Kind = Literal["dataset", "model"]
TOGETHER = 8  # files on their way at a time
LOGIN = "look at the name and who may write there; then `hf auth login`, or set HF_TOKEN"


class HubError(OSError):
    """The Hub cannot give or take something; the message says what, and what to do."""


class Head(NamedTuple):
    """The newest commit of a repository, and whether only its owners may see it."""

    commit: str
    private: bool


@dataclass(frozen=True)
class Held:
    """What the Hub says of a file. sha256: of a large one (LFS), None for others; blob: git's digest of these."""

    size: int
    sha256: str | None
    blob: str

    def same(self, path: Path, sha256: str | None = None) -> bool:
        """Whether the file at `path` is this one. sha256: its digest, where that is known."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return (sha256 or sha256_file(path)) == self.sha256
        return git_hash(path.read_bytes()) == self.blob


class Sent(NamedTuple):
    """What a push came to. commit: of the state that is there now; files, bytes, removed: what it changed."""

    commit: str
    files: int
    bytes: int
    removed: int


class Repository:
    """A repository, `owner/name`. All methods raise HubError."""

    def __init__(self, name: str, kind: Kind) -> None:
        disable_progress_bars()  # the commands show their own
        self.name, self.kind = name, kind
        self._api = HfApi(library_name="medshards")

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def head(self, revision: str | None = None) -> Head | None:
        """The newest commit (of a branch or tag); None when there is no such repository, or not for this account."""
        try:
            with self._failing("cannot be looked up"):
                info = self._api.repo_info(self.name, repo_type=self.kind, revision=revision)
                return Head(str(info.sha), bool(info.private))
        except HubError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):
                return None
            if isinstance(error.__cause__, RevisionNotFoundError):
                raise HubError(f"the {self} has no revision {revision}") from error
            raise

    def ready(self, public: bool) -> Head:
        """The repository, made (private unless `public`) where there is none; one that is public must be meant."""
        head = self.head()
        if head is None:
            with self._failing("cannot be made"):
                self._api.create_repo(self.name, repo_type=self.kind, private=not public, exist_ok=True)
            head = self.head()
            if head is None:
                raise HubError(f"the {self} was made and is not to be seen; {LOGIN}")
        if not (head.private or public):
            raise HubError(f"the {self} is public; push there with --public, or name another repository")
        return head

    def files(self, commit: str) -> dict[str, Held]:
        """All files of a commit by path."""
        with self._failing("cannot be listed"):
            tree = self._api.list_repo_tree(self.name, recursive=True, revision=commit, repo_type=self.kind)
            return {
                each.path: Held(each.size, each.lfs.sha256 if each.lfs else None, each.blob_id)
                for each in tree
                if isinstance(each, RepoFile)
            }

    def read(self, name: str, commit: str) -> bytes:
        """The content of a small file."""
        with tempfile.TemporaryDirectory() as folder:
            return self._fetch(name, commit, Path(folder)).read_bytes()

    def send(
        self,
        head: Head,
        folder: Path,
        wanted: Mapping[str, str],
        remove: Sequence[str],
        message: str,
        progress: Callable[[str, int, int], None],
    ) -> Sent:
        """Bring files of `folder` there and remove others, in one commit on top of `head`; the rest stays.

        wanted: SHA-256 of each by path, which must be right. What is there already is not sent. Afterwards what is
        there is compared with what was wanted.
        """
        there = self.files(head.commit)
        new = [n for n, sha in wanted.items() if n not in there or not there[n].same(folder / n, sha)]
        if not new and not remove:
            return Sent(head.commit, 0, 0, 0)
        for done, name in enumerate(new):
            progress("check", done, len(new))
            if not (folder / name).is_file() or sha256_file(folder / name) != wanted[name]:
                raise HubError(f"{folder / name} is missing or not as it was written; nothing was pushed")
        additions = [CommitOperationAdd(name, str(folder / name)) for name in new]
        for start in range(0, len(additions), TOGETHER):
            progress("upload", start, len(additions))
            some = additions[start : start + TOGETHER]
            with self._failing(f"{some[0].path_in_repo} … cannot be uploaded"):
                self._api.preupload_lfs_files(
                    self.name, some, repo_type=self.kind, num_threads=TOGETHER, free_memory=False
                )
        with self._failing("cannot be committed to"):
            commit = self._api.create_commit(
                self.name,
                [*additions, *(CommitOperationDelete(name) for name in remove)],
                commit_message=message,
                repo_type=self.kind,
                parent_commit=head.commit,
            ).oid
        there = self.files(commit)
        for name, digest in wanted.items():
            if name not in there or not there[name].same(folder / name, digest):
                raise HubError(f"{self}: {name} did not arrive as it is here; push again")
        return Sent(commit, len(new), sum((folder / name).stat().st_size for name in new), len(remove))

    def fetch(
        self,
        commit: str,
        names: Sequence[str],
        folder: Path,
        right: Callable[[str, Path], bool],
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Bring files of a commit below `folder`; those that are there and right(name, path) are not fetched again."""

        def one(name: str) -> None:
            path = folder / name
            for _ in range(2):  # what was damaged on the way is asked for once more
                if right(name, path):
                    return
                path.unlink(missing_ok=True)
                self._fetch(name, commit, folder)
            if not right(name, path):
                path.unlink()
                raise HubError(
                    f"{self}: {name} is not the file that it should be; it was damaged after its push"
                )

        with ThreadPoolExecutor(TOGETHER) as pool:
            try:
                for done, _ in enumerate(pool.map(one, names), start=1):
                    progress("download", done, len(names))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, name: str, commit: str, folder: Path) -> Path:
        with self._failing(f"{name} cannot be fetched"):
            return Path(
                self._api.hf_hub_download(
                    self.name,
                    name,
                    repo_type=self.kind,
                    revision=commit,
                    local_dir=folder,
                    force_download=True,
                )
            )

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Errors of the client, which are of many kinds, as HubError with one line."""
        try:
            yield
        except HFValidationError as error:
            raise HubError(f"{self.name!r} is no name of a repository; expected owner/name") from error
        except Exception as error:
            told = getattr(error, "server_message", None) or str(error.__cause__ or error)
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            advice = {401: LOGIN, 403: LOGIN, 409: "somebody else pushed; push again"}
            advice |= {404: LOGIN, 412: "somebody else pushed; push again"}
            todo = advice.get(status or 0, "run it again to go on from here")
            raise HubError(
                f"{self} {what}".strip() + f": {' '.join(told.split()).rstrip(' :')}; {todo}"
            ) from error
