"""Encode one unit, as a task of a cluster does: python -m medshards.shards.cluster.unit OUT SLUG NUMBER [WORKERS]"""

from __future__ import annotations

import sys
from pathlib import Path

from medshards.common.console import say, tell
from medshards.common.machine import MachineError
from medshards.curate.sample import Reject
from medshards.shards.cluster.units import encode_unit


def main(out: str, slug: str, number: str, workers: str = "1") -> None:
    try:
        made = encode_unit(Path(out), slug, int(number), int(workers))
    except (Reject, MachineError) as error:
        say(f"unit {number} of {slug}: {error}")
        sys.exit(1)
    refused = ", ".join(f"{count} {code}" for code, count in sorted(made.rejects.items()))
    tell(f"unit {number} of {slug}: {made.cases} cases, {made.samples} samples, refused: {refused or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
