"""`mlops reap`: end what killed processes have left open."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from mlops.cli.app import Json, app


@app.command()
def reap(as_json: Json = False) -> None:
    """End runs and models that a killed process has left open; what somebody is at work on is left alone."""
    from mlops.pipelines import reaper
    from mlops.services import Services

    found = reaper.reap(Services.open())
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else str(found))
