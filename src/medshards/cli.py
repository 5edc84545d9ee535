"""The command `medshards`: medical segmentation data, as downloaded, to shards, training and evaluation.

This module stands on top of every room and imports none of their commands until one runs, so that `medshards --help`
answers at once and never loads torch.
"""

from __future__ import annotations

import faulthandler
import importlib
import keyword
import os
import signal
import sys
import tempfile
import traceback

import click

from medshards.common.commands import Group
from medshards.common.machine import TROUBLE, MachineError, machine_error
from medshards.common.text import in_words

# name: (module that holds the click command, one line for `medshards --help`)
COMMANDS: dict[str, tuple[str, str]] = {
    "catalog": (
        "medshards.curate.cli.catalog",
        "List the datasets of the catalog, as in Table 1 of the paper.",
    ),
    "vocab": ("medshards.vocab.cli", "Show, search and check the concept vocabulary."),
    "download": ("medshards.curate.cli.download", "Fetch a dataset, or say exactly how to get it."),
    "inspect": (
        "medshards.shards.cli.prove",
        "Say what a download is and what would be built; writes nothing.",
    ),
    "phantom": (
        "medshards.curate.cli.phantom",
        "Write a tiny fake download of a dataset in its native layout.",
    ),
    "import": (
        "medshards.curate.cli.imports",
        "Make a dataset of your own of COCO, YOLO, nnU-Net and other files.",
    ),
    "check": (
        "medshards.shards.cli.check",
        "Check a dataset that is being added, and draw its first samples.",
    ),
    "build": (
        "medshards.shards.cli.build",
        "Convert downloads into shards with train and validation splits.",
    ),
    "verify": ("medshards.shards.cli.prove", "Recompute every digest of a corpus and name what is wrong."),
    "audit": ("medshards.shards.cli.audit", "Look for leaks between splits, over all datasets of a corpus."),
    "stats": ("medshards.shards.cli.prove", "Measure a corpus beside the paper's Table 1."),
    "export": ("medshards.shards.cli.export", "Write a corpus as COCO, SA-Co and other formats."),
    "push": ("medshards.train.share.cli", "Bring a corpus or model to the Hugging Face Hub."),
    "pull": ("medshards.train.share.cli", "Fetch a corpus or model from the Hub, and prove it."),
    "stream": ("medshards.train.data.cli", "Time how fast a corpus streams here, or replay its order."),
    "train": ("medshards.train.cli", "Fine-tune SAM3 on a corpus."),
    "predict": ("medshards.evaluate.predict.cli", "Segment images and volumes by text prompts."),
    "evaluate": ("medshards.evaluate.cli.evaluate", "Measure how well a checkpoint answers text prompts."),
    "overview": ("medshards.evaluate.cli.overview", "Draw samples of a corpus with their masks and prompts."),
    "browse": ("medshards.shards.cli.browse", "Look at the catalog and a corpus in a browser."),
    "site": ("medshards.shards.cli.browse", "Write the same as plain files, for a disk or a bucket."),
    "prompts": (
        "medshards.evaluate.prompts.cli.prompts",
        "Build and prove sets of prompts that are spoilt in a controlled way.",
    ),
    "demo": ("medshards.demo", "Run the whole way on phantoms, in ./demo."),
}


class LazyGroup(Group):
    """A click group that knows its commands' help lines and imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="medshards")
def cli() -> None:
    """Medical segmentation data, as downloaded, to one trustworthy corpus; SAM3 trained on it.

    \b
    medshards catalog                           which datasets there are
    medshards build --all --raw RAW --out OUT   shards of the downloads RAW/<slug>
    medshards verify OUT ; medshards stats OUT  prove and measure them
    medshards train --data OUT --out RUN        fine-tune SAM3 on them
    """


PRINTING = {"catalog", "vocab", "inspect", "stats"}  # commands that do nothing but print
# packages that only an extra brings
EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "regex", "tensorboard"), "train"),
    "huggingface_hub": "hub",
}
UNUSABLE = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
PATIENCE = 8  # s that a command which failed has for its own exit


def explain(fault: Exception) -> str:
    """What to tell a person whose command ended in `fault`, in one line.

    A missing extra, a path that cannot be used and trouble of the machine explain themselves; the trace of all else
    is kept in a file.
    """
    if isinstance(fault, MachineError):
        return str(fault)
    if isinstance(fault, ModuleNotFoundError) and (extra := EXTRAS.get((fault.name or "").split(".")[0])):
        return f"this needs {fault.name}, which is not installed: pip install 'medshards[{extra}]'"
    unusable = isinstance(fault, UNUSABLE) or getattr(fault, "errno", None) in TROUBLE
    if isinstance(fault, OSError) and unusable and fault.filename is not None:
        return f"{fault.filename}: {fault.strerror}; name another path, or change this one"
    if isinstance(fault, OSError | MemoryError) and (trouble := machine_error(fault)):
        return str(trouble)  # a disk that is found full while something is written does not say where
    what = in_words(fault)
    try:
        handle, path = tempfile.mkstemp(prefix="medshards-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(fault))
    except OSError as refusal:
        return f"unforeseen {what} (no trace kept: {refusal})"
    return f"unforeseen {what} (full trace: {path})"


def main() -> None:
    """Entry point. Exit status: 0 all well, 1 something was refused or failed, 2 wrong usage."""
    if hasattr(signal, "SIGPIPE") and PRINTING & set(sys.argv[1:2]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `medshards catalog | head` ends quietly
    try:
        try:
            cli()
        except Exception as fault:
            click.echo(f"Error: {explain(fault)}", err=True)
            sys.exit(1)
    except BaseException as end:
        if not isinstance(end, SystemExit) or end.code:
            # On its way out Python waits for threads, and they for other ranks, which may wait for this one.
            quiet = os.open(os.devnull, os.O_WRONLY)
            faulthandler.dump_traceback_later(PATIENCE, exit=True, file=quiet)
        raise
