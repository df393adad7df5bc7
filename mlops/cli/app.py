"""The root of the command line: what all commands share.

One rule: this is the one place where an error becomes an exit code.
"""

from __future__ import annotations

import sys
from datetime import date
from typing import Annotated

import typer

from mlops import cli, log
from mlops.errors import MLOpsError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=cli.__doc__)
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
COLOURS = {"done": "green", "nothing_to_do": "dim", "no": "yellow", "cannot_tell": "magenta"}


def main() -> None:
    """Entry point of `mlops`: the one place where an error becomes an exit code."""
    try:
        app()
    except MLOpsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


@app.callback()
def _options(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")] = False) -> None:
    log.configure("INFO" if verbose else "WARNING")


def date_of(text: str, *, default: date) -> date:
    """A date as people type it; a usage error if it is none."""
    if not text:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date; write YYYY-MM-DD") from error
