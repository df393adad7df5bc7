"""`mlops drift …`: nights of monitoring, looked at side by side."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from mlops.cli.app import app, date_of

drift_app = typer.Typer(no_args_is_help=True, help="Nights of monitoring, looked at side by side.")
app.add_typer(drift_app, name="drift")


@drift_app.command("workspace")
def workspace(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the workspace; made if it is not there.")],
    start: Annotated[str, typer.Option("--from", help="First night.")],
    end: Annotated[str, typer.Option("--to", help="Last night.")],
) -> None:
    """Add past nights to a workspace of Evidently's; look at it with: evidently ui --workspace FOLDER."""
    from mlops.pipelines import drift_workspace
    from mlops.services import Services

    services = Services.open()
    first, last = date_of(start, default=date.max), date_of(end, default=date.min)
    added = drift_workspace.fill(services, services.spec(model), folder, first, last)
    typer.echo(f"{len(added)} nights were added. Look at them: evidently ui --workspace {folder} --host 127.0.0.1")
