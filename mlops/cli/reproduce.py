"""`mlops reproduce`: can a version be made again?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlops.cli.app import Json, app

_COLOURS = {"equal": "green", "differs": "yellow", "cannot_tell": "magenta"}
_SHOWN = 40  # hashes are cut


@app.command()
def reproduce(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[int, typer.Argument(help="Number of the version.")],
    as_json: Json = False,
) -> None:
    """Fit a version again from its kept training set; exit code 0 if its scores are equal, 3 if not or nobody knows."""
    from mlops.pipelines import reproduce as pipeline
    from mlops.services import Services

    services = Services.open()
    found = pipeline.reproduce(services, services.spec(model), version)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        raise typer.Exit(found.exit_code)
    table = Table("", "", "then", "now", box=None)
    for fact in found.facts:
        words = f"[{_COLOURS[fact.verdict]}]{fact.verdict.replace('_', ' ')}[/]"
        table.add_row(fact.name, words, fact.then[:_SHOWN] or "-", fact.now[:_SHOWN] or "-")
    Console(highlight=False).print(table)
    typer.echo(found.reason)
    raise typer.Exit(found.exit_code)
