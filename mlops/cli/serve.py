"""`mlops serve`: champions, answering over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.app import app
from mlops.config import MLOpsConfig


@app.command()
def serve(
    models: Annotated[list[str] | None, typer.Argument(help="Names of models. Default: all that have a spec.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    lookups: Annotated[bool, typer.Option(help="Look features up by entity, in Feast's online store.")] = True,
    keep: Annotated[bool, typer.Option("--log/--no-log", help="Keep what was answered, in the prediction log.")] = True,
    max_rows: Annotated[int, typer.Option(min=1, help="Rows that one request may have.")] = 10_000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Longest wait for an answer [s].")] = 5.0,
) -> None:
    """Answer for the champions over HTTP, until SIGTERM; promotions and rollbacks are followed within two seconds."""
    from mlops.api.serving.options import ServeOptions
    from mlops.api.serving.server import serve as run

    config = MLOpsConfig.load()
    options = ServeOptions(tuple(models or ()), lookups=lookups, log=keep, max_rows=max_rows, timeout_seconds=timeout)
    typer.echo(
        f"Serving on http://{host}:{port}, {workers} process{'es' if workers > 1 else ''}. GET / lists the routes."
    )
    run(config, options, host=host, port=port, workers=workers)
