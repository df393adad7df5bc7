"""`mlops metrics …`: what the records say, as Prometheus reads it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from mlops.cli.app import Json, app, date_of

metrics_app = typer.Typer(no_args_is_help=True, help="The records as metrics for Prometheus.")
app.add_typer(metrics_app, name="metrics")


@metrics_app.command("show")
def show(as_json: Json = False) -> None:
    """Print all metrics."""
    from mlops.monitoring.exposition import render
    from mlops.pipelines.metrics import collect
    from mlops.services import Services

    samples = collect(Services.open())
    if as_json:
        rows = [
            {"name": s.metric.name, "labels": dict(zip(s.metric.labels, s.labels, strict=True)), "value": s.value}
            for s in samples
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo(render(samples), nl=False)


@metrics_app.command("names")
def names() -> None:
    """Print the names of all metrics with what they mean, as Markdown."""
    from mlops.metric_names import markdown

    typer.echo(markdown(), nl=False)


@metrics_app.command("write")
def write(file: Annotated[Path, typer.Argument(help="File below the textfile collector's folder, *.prom.")]) -> None:
    """Write all metrics to a file for node_exporter's textfile collector, in one piece."""
    from mlops.monitoring import exposition
    from mlops.pipelines.metrics import collect
    from mlops.services import Services

    exposition.write(exposition.render(collect(Services.open())), file)


@metrics_app.command("history")
def history(
    file: Annotated[Path, typer.Argument(help="File to write, for promtool.")],
    start: Annotated[str, typer.Option("--from", help="First night.")],
    end: Annotated[str, typer.Option("--to", help="Last night.")],
) -> None:
    """Write the metrics of past nights as OpenMetrics: promtool tsdb create-blocks-from openmetrics FILE FOLDER."""
    from mlops.monitoring import exposition
    from mlops.pipelines import metrics_history
    from mlops.services import Services

    points = metrics_history.history(Services.open(), date_of(start, default=date.max), date_of(end, default=date.min))
    exposition.write(exposition.render_history(points), file)


@metrics_app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 9108,
    max_age: Annotated[float, typer.Option(min=0, help="How old an answer may be [s].")] = 10.0,
) -> None:
    """Serve all metrics at GET /metrics until interrupted; GET /health says that it runs."""
    from mlops.monitoring.exposition import Page, server
    from mlops.pipelines.metrics import collect
    from mlops.services import Services

    services = Services.open()
    page = Page(lambda: collect(services), max_age_seconds=max_age)
    with server(page, host, port) as serving:
        typer.echo(f"http://{host}:{serving.server_port}/metrics")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            typer.echo("Ended.")


@metrics_app.command("dashboards")
def dashboards(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("deploy/grafana/dashboards"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; end with 3 if a file differs.")] = False,
) -> None:
    """Write Grafana's dashboards, as they follow from the names of the metrics."""
    from mlops.monitoring.dashboards import files

    differing = [
        name for name, text in files().items() if not (folder / name).exists() or (folder / name).read_text() != text
    ]
    if check:
        typer.echo(f"Differing: {', '.join(differing)}." if differing else "All files are as they should be.")
        raise typer.Exit(3 if differing else 0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {', '.join(files())} to {folder}.")
