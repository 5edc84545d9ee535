"""Names for patients that lead nowhere: keyed hashes of native ids, and of file names that tell of a patient.

Whoever has a list of patient ids could hash them all and look them up; without the key that is impossible. The key
is made once, at random, and lies outside every corpus: $MEDSHARDS_KEY_FILE, else the user's configuration folder
($XDG_CONFIG_HOME/medshards/patients.key, usually ~/.config/medshards/patients.key). Builds with one key give one
patient one name, in all datasets; keep the key with the raw data, and do not publish it.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from medshards.common.below import Below
from medshards.common.machine import MachineError
from medshards.curate.sample import Reject
from medshards.curate.tree import File, Layout, Tree, open_download
from medshards.curate.unpack import is_archive

VARIABLE = "MEDSHARDS_KEY_FILE"
LENGTH = 16  # hex digits of a name: 64 bits


def key_file() -> Path:
    """Where the key lies, or will."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(os.environ.get(VARIABLE) or Path(base) / "medshards" / "patients.key")


def load_key() -> bytes:
    """The key (32 bytes), made when there is none yet. Raises Reject `key_file` when that is impossible."""
    path = key_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        if not path.exists():
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(secrets.token_hex(32) + "\n")
            try:
                os.link(temporary, path)  # unless another process was faster; never half a key
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        key = bytes.fromhex(path.read_text())
    except OSError as error:
        message = (
            f"the key file {path} cannot be read or made ({error.strerror}); set {VARIABLE} or --key-file"
        )
        raise Reject("key_file", message) from error
    except ValueError:
        key = b""
    if len(key) != 32:
        raise Reject("key_file", f"{path} holds no key of 64 hex digits; name another file, or restore it")
    return key


@contextmanager
def passing_key() -> Iterator[None]:
    """In the block names are made with the key that is there, or else with one that is gone afterwards."""
    if key_file().exists():
        yield
        return
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = str(Path(folder) / "patients.key")
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def pseudonym(key: bytes, *parts: str) -> str:
    """16 hex digits that stand for `parts` (e.g. "patient" and its id): HMAC-SHA256 under the key."""
    return hmac.new(key, "\0".join(parts).encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:LENGTH]


def renamed(key: bytes, slug: str, name: str) -> str:
    """A relative path that tells nothing: one hash for its folder, one for the stem of its file; the suffix stays."""
    path = PurePosixPath(name)
    suffix = path.suffix if path.suffix[1:].isalpha() else ""
    stem = pseudonym(key, slug, "file", path.name.removesuffix(suffix))
    return f"{pseudonym(key, slug, 'folder', str(path.parent))}/{stem}{suffix}"


def open_renamed(root: Path, layouts: tuple[Layout, ...], slug: str) -> list[Tree]:
    """The trees of a download, as `open_download` gives them, with a name of the project's own for each file.

    The paths by which a tree knows its files stay as published, for a converter to read. Raises Reject and MachineError
    as `open_download` does, without a published name but that of an archive that was downloaded.
    """
    key = load_key()
    try:
        trees = open_download(root, layouts, _kinds)
    except Reject as reject:
        if not reject.file or is_archive((root if root.is_dir() else root.parent) / reject.file):
            raise
        raise Reject(reject.code, reject.message, renamed(key, slug, reject.file)) from None
    except MachineError as trouble:
        raise MachineError("a folder in it cannot be listed; mend that first", str(root)) from trouble
    download = {p: f.renamed(renamed(key, slug, f.name)) for p, f in trees[0].download.items()}
    return [replace(tree, files=Below(download, tree.base), download=download) for tree in trees]


def _kinds(files: dict[str, File]) -> str:
    """How many files of each kind a tree holds, without a name: "324 .png, 2 .json"."""
    found = Counter(file.suffix if file.suffix[1:].isalpha() else "other" for file in files.values())
    return ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))


def write_name_map(slug: str, files: Iterable[File]) -> Path:
    """Write, beside the key and for the user alone, which file on this machine each of the project's names stands for.

    One line a file, SLUG.names.tsv: name, tab, path (as JSON strings write it). Returns where it was written.
    """
    own = {file.name: file.place for file in files if not file.path.as_posix().endswith(file.name)}
    path = key_file().with_name(f"{slug}.names.tsv")
    lines = "".join(f"{name}\t{json.dumps(place)}\n" for name, place in sorted(own.items()))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(0o600)
    temporary.write_text(lines)
    temporary.replace(path)
    return path
