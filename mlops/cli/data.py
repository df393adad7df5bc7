"""`mlops data …`: a first look at data, and the pages of what was checked."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer

from mlops.cli.app import Json, app
from mlops.errors import StorageError

data_app = typer.Typer(no_args_is_help=True, help="Data: a first look, and what was found of deliveries.")
app.add_typer(data_app, name="data")


@data_app.command("profile")
def profile(
    uri: Annotated[str, typer.Argument(help="File, folder, glob or URI ({date} for the date), or a database URL.")],
    kind: Annotated[str, typer.Option(help="parquet, csv or sql. Default: by the ending.")] = "",
    table: Annotated[str, typer.Option(help="For sql: the table, or a query.")] = "",
    entity: Annotated[str, typer.Option(help="Column of the entity. Default: guessed.")] = "",
    event: Annotated[str, typer.Option(help="Column of the event time. Default: guessed.")] = "",
    arrival: Annotated[str, typer.Option(help="Column that says when a row became known. Default: guessed.")] = "",
    timezone: Annotated[str, typer.Option(help="Zone of times that carry none. Default: UTC, and it is said.")] = "",
    spec: Annotated[str, typer.Option("--spec", help="Propose a whole spec of this name.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write. Default: print.")] = None,
    as_json: Json = False,
) -> None:
    """Propose the contract that data keeps, as YAML to edit. Exit code 3: a day does not keep even that."""
    from mlops.data import profile, proposal

    if kind not in ("", "parquet", "csv", "sql"):
        raise typer.BadParameter(f"--kind {kind!r} is none of parquet, csv, sql")
    keys = {"entity": entity, "event": event, "arrival": arrival}
    found = profile.first_look(uri, kind=kind or None, table=table, timezone=timezone, **keys)  # type: ignore[arg-type]
    text = proposal.spec_yaml(found, spec) if spec else proposal.contract_yaml(found)
    if as_json:
        text = json.dumps({"seen": proposal.summary(found), "proposal": proposal.facts(found)}, indent=2)
    if output is None:
        typer.echo(text.rstrip("\n"))
    else:
        _write(output, text)
        typer.echo(f"Written to {output}.", err=as_json)
    raise typer.Exit(3 if found.broken else 0)


@data_app.command("docs")
def docs(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder. Default: <state_dir>/data_docs.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show them in the browser until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option("--port", help="Port of --serve, on this machine only. 0: any free one.")] = 8090,
) -> None:
    """Write every delivery's verdict and page as static HTML, which opens offline; --serve shows it, up to date."""
    from mlops.pipelines import data_docs
    from mlops.services import Services

    services = Services.open()
    index = data_docs.build(services, output or services.config.state_dir / "data_docs")
    typer.echo(f"Written: {index}")
    if serve:
        from mlops.api.data_docs import server

        with server(services, index.parent, port) as running:
            typer.echo(f"http://localhost:{running.server_port}   Ctrl-C ends it.")
            with contextlib.suppress(KeyboardInterrupt):
                running.serve_forever()


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise StorageError(f"{path} is there already.", hint="Name another file, or delete it first.")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error
