"""A corpus on the Hugging Face Hub: pushed in one commit, pulled into a folder that appears when it is proven.

So nobody ever takes half of one for a corpus, neither there nor here. Only what manifests and corpus.json list travels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from medshards.common.files import appearing, sha256_file, write_atomically
from medshards.curate.sample import Reject
from medshards.shards.build.manifest import CORPUS, MANIFEST, SCHEMA, CorpusFacts, whole
from medshards.shards.prove.verify import verify
from medshards.shards.share.parts import listed_in, listed_there, parts_of
from medshards.shards.share.repository import HubError, Repository, Sent

Progress = Callable[[str, int, int], None]


def push_corpus(out: Path, repository: Repository, public: bool, progress: Progress) -> Sent:
    """Bring the corpus at `out` into a repository, in place of one that a push brought there before.

    Files that no push brought there stay. public: everybody may see it. Raises Reject when there is no whole corpus at
    `out` (`no_corpus`), or the repository holds other things under names of a corpus (`foreign_files`), HubError.
    """
    parts = parts_of(out)
    wanted = {**parts.digests, CORPUS: sha256_file(out / CORPUS)}
    head = repository.ready(public)
    there = repository.files(head.commit)
    if CORPUS in there and whole(repository.read(CORPUS, head.commit)) is not None:
        earlier = listed_there(there, lambda name: repository.read(name, head.commit)).keys()
        ours = {f"{name.split('/')[0]}/{MANIFEST}" for name in earlier}
        gone = sorted((set(earlier) | ours) & set(there) - set(wanted))
    else:
        gone, foreign = [], sorted(set(there) & set(wanted))
        if foreign:
            message = f"the {repository} holds {foreign[0]}, and no corpus; name another repository"
            raise Reject("foreign_files", message)
    message = f"medshards corpus {parts.corpus['digest'][:16]}"
    return repository.send(head, out, wanted, gone, message, progress)


def pull_corpus(
    repository: Repository, commit: str, out: Path, workers: int, progress: Progress
) -> CorpusFacts:
    """Fetch the corpus of a commit, prove it as `medshards verify` does, and only then let it appear at `out`.

    What an interrupted pull fetched is not fetched again. Raises FileExistsError when something lies at `out`, Reject
    when the repository holds no corpus (`no_corpus`) or one that is not clean (`damaged`), HubError.
    """
    there = repository.files(commit)
    if CORPUS not in there:
        raise Reject("no_corpus", f"the {repository} holds no {CORPUS}, so no corpus")
    corpus_json = repository.read(CORPUS, commit)
    corpus = _corpus(corpus_json, repository)
    manifests, _ = listed_in(corpus)
    with appearing(out, resume=True) as part:

        def get(digests: dict[str, str]) -> None:
            def right(name: str, path: Path) -> bool:
                return path.is_file() and sha256_file(path) == digests[name]

            missing = sorted(digests.keys() - there.keys())
            if missing:
                raise HubError(f"the {repository} lacks {missing[0]}, which its corpus lists; push it again")
            repository.fetch(commit, list(digests), part, right, progress)

        (part / CORPUS).unlink(missing_ok=True)  # a part is no corpus
        get(manifests)
        digests = parts_of(part, corpus).digests
        get(digests)
        keep_only(part, set(digests))
        write_atomically(part / CORPUS, corpus_json)
        problems = verify(part, workers, progress)
        if problems:
            (part / CORPUS).unlink()
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise Reject("damaged", f"the corpus of the {repository} is not clean: {problems[0]}{more}")
    return corpus


def keep_only(folder: Path, names: set[str]) -> None:
    """Remove what the Hub's client and an earlier pull of something else left in a folder."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what lies in a folder comes before it
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in names:
            path.unlink()


def _corpus(data: bytes, repository: Repository) -> CorpusFacts:
    found: Any = whole(data)
    if not isinstance(found, dict) or not isinstance(found.get("datasets"), dict):
        raise Reject("no_corpus", f"{CORPUS} of the {repository} is damaged; push it again")
    if found.get("schema") != SCHEMA:
        message = (
            f"the corpus of the {repository} has schema {found.get('schema')}, this medshards reads {SCHEMA}"
        )
        raise Reject("no_corpus", message)
    return cast(CorpusFacts, found)
