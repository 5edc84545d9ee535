"""A model on the Hugging Face Hub: a checkpoint, to go on or be evaluated elsewhere, or an export with its card.

It is pushed in one commit; pulled, it appears when each file is the one that the Hub holds and a checkpoint is whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medshards.common.files import appearing, sha256_file
from medshards.curate.sample import Reject
from medshards.shards.share.hub import keep_only
from medshards.shards.share.repository import Repository, Sent
from medshards.train.model.lora import CONFIG as ADAPTER
from medshards.train.model.lora import TENSORS
from medshards.train.model.weights import OWN_CONCEPTS
from medshards.train.run.card import ATTRIBUTION, CARD
from medshards.train.run.checkpoint import FOLDER, STATE, CheckpointError, check, find

Progress = Callable[[str, int, int], None]
WEIGHTS = {"model.safetensors", TENSORS, "sam3.pt"}
PAPERS = {CARD, ATTRIBUTION}
"""What is owed to those whose data a model learnt from; no export is passed on without."""
EXPORT = PAPERS | WEIGHTS
EXPORT |= {"config.json", ADAPTER, "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
EXPORT |= {"vocab.json", "merges.txt", "special_tokens_map.json", "LICENSE", OWN_CONCEPTS}
SHARD = re.compile(r"[\w-]+\.safetensors")  # of a checkpoint


def is_checkpoint(path: Path) -> bool:
    """Whether a checkpoint or a run lies at `path`, and no export."""
    return (path / STATE).is_file() or (path / FOLDER).is_dir() or path.name == FOLDER


def push_model(path: Path, repository: Repository, public: bool, progress: Progress) -> Sent:
    """Bring a checkpoint (of a run its best, else its newest) or an exported model into a repository.

    Raises Reject when `path` is neither (`no_model`), a checkpoint would be public or an export lacks its card
    (`licence`), or the repository holds something else (`foreign_files`), or a checkpoint is not whole
    (`damaged`); HubError.
    """
    if is_checkpoint(path):
        if public:
            message = f"{path} is a checkpoint, which has no card that says what it was trained on; publish an export"
            raise Reject("licence", f"{message} (`medshards train --export hf`)")
        with _whole():
            folder = find(path)
            names = {STATE, *check(folder).files}
    else:
        folder, names = path, _export(path)
    wanted = {name: sha256_file(folder / name) for name in sorted(names)}
    head = repository.ready(public)
    there = repository.files(head.commit)
    ours = {name for name in there if name in EXPORT or name == STATE or SHARD.fullmatch(name)}
    foreign = sorted(there.keys() & names)
    if foreign and not (STATE in there or (ATTRIBUTION in there and WEIGHTS & there.keys())):
        message = f"the {repository} holds {foreign[0]}, and no model of medshards; name another repository"
        raise Reject("foreign_files", message)
    return repository.send(head, folder, wanted, sorted(ours - names), "medshards model", progress)


def _export(folder: Path) -> set[str]:
    """The files of an exported model; folders beside them are exports of their own."""
    found = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    if not WEIGHTS & found:
        expected = f"a corpus (corpus.json), a run or checkpoint, or an export ({', '.join(sorted(WEIGHTS))})"
        raise Reject("no_model", f"{folder} holds nothing to push; expected {expected}")
    if missing := sorted(PAPERS - found):
        todo = "write it by `medshards train --export`, which knows what the model was trained on"
        raise Reject("licence", f"{folder} has no {missing[0]}, which must go with a model; {todo}")
    if strange := sorted(found - EXPORT):
        raise Reject("foreign_files", f"{folder / strange[0]} is no part of an export; move it away")
    return found


def pull_model(repository: Repository, commit: str, out: Path, progress: Progress) -> None:
    """Fetch the model of a commit; it appears at `out` when it is whole.

    What an interrupted pull fetched is not fetched again. Raises FileExistsError when something lies at `out`, Reject
    `no_model` when the repository holds none, `damaged` when its checkpoint is not whole, HubError.
    """
    there = repository.files(commit)
    names = [name for name in there if name in EXPORT or SHARD.fullmatch(name)]
    if not (STATE in there or WEIGHTS & set(names)):
        raise Reject("no_model", f"the {repository} holds no model that medshards pushed")
    last = [STATE] if STATE in there else []
    with appearing(out, resume=True) as part:
        for some in (names, last):
            repository.fetch(commit, some, part, lambda name, path: there[name].same(path), progress)
        keep_only(part, {*names, *last})
        if last:
            with _whole():
                check(part)


@contextmanager
def _whole() -> Iterator[None]:
    """A checkpoint that is not whole is a Reject (`damaged`)."""
    try:
        yield
    except CheckpointError as error:
        raise Reject("damaged", str(error)) from error
