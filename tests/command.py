"""The command `medshards`, run in this process: starting another one takes longer than most of what is tested."""

from pathlib import Path

from click.testing import CliRunner, Result

from medshards.cli import cli


def medshards(*words: str | Path | float) -> Result:
    """Run the command; raises whatever would reach a person as a traceback."""
    result = CliRunner().invoke(cli, list(map(str, words)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
