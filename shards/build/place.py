"""Whose files are in the way: a build removes nothing but what a build wrote.

OUT/<slug> is what its manifest lists; OUT/.work/<slug> holds work of known names. Anything else there, a link
among it, belongs to somebody else: the build is refused before it writes, and says what lies there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from medshards.common.files import locked, meant
from medshards.common.text import printable
from medshards.curate.sample import Reject
from medshards.shards.build.manifest import MANIFEST, PAPERS, dataset_files, proven_corpus, proven_manifest
from medshards.shards.card.text import MARK

WORK = ".work"  # folder in a corpus for all that is unfinished, and for the locks
OLD, ASSEMBLED, PACKS = "old", "assembled", "packs"  # folders of a dataset in there
SHOWN = 3

Mine = Callable[[str], object]  # is the file of this relative path one that a build wrote?


@contextmanager
def held(out: Path, slug: str) -> Iterator[None]:
    """Hold the lock of a dataset. Raises Reject `locked` when another build has it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out / WORK / f"{slug}.lock", wait=False))
        except BlockingIOError as error:  # here alone: a process that cannot be started is one, too
            raise Reject("locked", f"another build is writing {slug} into {out}") from error
        yield


def require_apart(raw: Path, out: Path) -> None:
    """Raises Reject `overlap` when a download lies in the corpus, or the corpus in a download."""
    source, target = raw.resolve(), out.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise Reject(
            "overlap", f"the corpus {out} and the download {raw} lie in one another; choose another --out"
        )


def require_own(out: Path, slug: str) -> None:
    """Raises Reject `foreign_files` when something lies where the dataset or the papers go that no build wrote."""
    require_own_papers(out)
    places = [out / WORK, out / WORK / slug, out / slug]
    for place in places:
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise Reject(
                "foreign_files", f"{place} is no folder of a build; remove it, or choose another --out"
            )
    for folder, mine in ((places[1], _in_work(slug)), (places[2], _published(places[2], slug))):
        foreign = [name for name, path in _files(folder) if path.is_symlink() or not mine(name)]
        if foreign:
            shown = ", ".join(printable(name) for name in foreign[:SHOWN]) + (
                ", …" if len(foreign) > SHOWN else ""
            )
            message = f"{folder} holds {len(foreign)} files that no build of {slug} wrote ({shown})"
            raise Reject("foreign_files", f"{message}; move them away, or choose another --out")


def require_own_papers(out: Path) -> None:
    """Raises Reject `foreign_files` when a paper lies there that neither corpus.json lists nor a build signed."""
    corpus = proven_corpus(out)
    listed = corpus.get("files", {}) if corpus is not None else {}
    for path in (out / name for name in PAPERS):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            foreign = True
        else:
            foreign = path.exists() and path.name not in listed and MARK.encode() not in path.read_bytes()
        if foreign:
            message = f"{path} was written by no build; move it away, or choose another --out"
            raise Reject("foreign_files", message)


def recover(out: Path, slug: str) -> None:
    """Put a dataset back that an interrupted build had moved aside; remove what is left of one that was replaced."""
    old, final = out / WORK / slug / OLD, out / slug
    if old.exists() and not final.exists():
        old.replace(final)
    clear(out, slug, OLD)


def recover_all(out: Path) -> None:
    """Put back whatever dataset an interrupted build had moved aside, unless a build of it is at work now."""
    for slug in unrecovered(out):
        try:
            with locked(out / WORK / f"{slug}.lock", wait=False):
                require_own(out, slug)
                recover(out, slug)
        except BlockingIOError:
            continue


def unrecovered(out: Path) -> list[str]:
    """Datasets that an interrupted build moved aside and that are not in their place again."""
    return [
        old.parent.name for old in sorted(out.glob(f"{WORK}/*/{OLD}")) if not (out / old.parent.name).exists()
    ]


def clear(out: Path, slug: str, part: str = "") -> None:
    """Remove OUT/.work/<slug>, or one part of it; a file that no build wrote stays, with its folders."""
    work, mine = out / WORK / slug, _in_work(slug)
    for name, path in _files(work / part):
        if mine(f"{part}/{name}" if part else name):
            path.unlink()
    for folder, _, _ in os.walk(work / part, topdown=False):
        if not os.listdir(folder):  # noqa: PTH208
            os.rmdir(folder)  # noqa: PTH106


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything below a folder but its folders, by relative path; a link to a folder is a thing of its own."""
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(parent) / name
            yield path.relative_to(folder).as_posix(), path


def dataset_pattern(slug: str) -> str:
    """Regular expression for the names of all files that a build writes into OUT/<slug>."""
    name = re.escape(slug)
    beside = r"manifest\.json|(index|annotations)\.parquet|rejects\.jsonl|samples\.png"
    return rf"({beside}|(train|val|test)/{name}-\w+-\d{{6}}\.tar)"


def _in_work(slug: str) -> Mine:
    packs = rf"{PACKS}/(\d{{6}}/)?\d{{6}}\.(pack|journal)"
    units = r"(job|progress)\.json|units/\d{6}\.(jsonl|done)|(units|last)\.sbatch|logs/unit-\d+\.log"
    names = re.compile(rf"{packs}|{units}|published\.meta|({OLD}|{ASSEMBLED})/{dataset_pattern(slug)}")
    return lambda name: names.fullmatch(meant(name))


def _published(folder: Path, slug: str) -> Mine:
    """A manifest that proves itself says what is the build's; beside a damaged one the names and tables do."""
    manifest = proven_manifest(folder)
    if manifest is not None and manifest["dataset"] == slug:
        return {MANIFEST, *dataset_files(manifest)}.__contains__
    if all((folder / name).is_file() for name in (MANIFEST, "index.parquet", "rejects.jsonl")):
        return re.compile(dataset_pattern(slug)).fullmatch
    return lambda name: False
