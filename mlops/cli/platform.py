"""`mlops up|down`, `mlops demo`, `mlops sample`: the platform on this machine, and data to try it on."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from mlops.cli.app import app, date_of
from mlops.config import MLOpsConfig


@app.command()
def sample(
    first: Annotated[str, typer.Option("--from", help="First delivery, YYYY-MM-DD.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last delivery, YYYY-MM-DD. Default: yesterday (UTC).")] = "",
    devices: Annotated[int, typer.Option(help="Devices of the fleet.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the fleet.")] = 7,
) -> None:
    """Deliver the sample fleet's telemetry and labels into the inbox that config/models/fleet_anomaly.yaml reads."""
    from mlops.data import fleet

    config = MLOpsConfig.load()
    end = date_of(last, default=datetime.now(UTC).date() - timedelta(days=1))
    start = date_of(first, default=end - timedelta(days=13))
    settings = fleet.FleetConfig(devices=devices, seed=seed, first_day=start)
    folder = f"{config.var}/inbox"
    for i in range((end - start).days + 1):
        fleet.write_delivery(settings, start + timedelta(days=i), folder)
    typer.echo(f"Delivered {start} to {end} of {devices} devices into {folder}.")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def demo(context: typer.Context) -> None:
    """Live through several nights of the sample fleet, through Airflow; ends in var/demo/report.html."""
    config = MLOpsConfig.load()
    command = [sys.executable, "-m", "demo", *context.args]
    raise typer.Exit(subprocess.run(command, cwd=config.home, env=dict(os.environ), check=False).returncode)


@app.command()
def up(
    airflow_port: Annotated[int, typer.Option(envvar="MLOPS_AIRFLOW_PORT", help="Port of the Airflow UI.")] = 8080,
    mlflow_port: Annotated[int, typer.Option(envvar="MLOPS_MLFLOW_PORT", help="Port of the MLflow UI.")] = 5000,
    feast_port: Annotated[int, typer.Option(envvar="MLOPS_FEAST_PORT", help="Port of the Feast UI; 0: none.")] = 8888,
    docs_port: Annotated[int, typer.Option(envvar="MLOPS_DOCS_PORT", help="Port of the data docs; 0: none.")] = 8090,
) -> None:
    """Start Airflow, MLflow, Feast's page and the data docs on this machine, no Docker; prints addresses and login."""
    from mlops import standalone

    standalone.up(
        MLOpsConfig.load(),
        airflow_port=airflow_port,
        mlflow_port=mlflow_port,
        feast_port=feast_port,
        docs_port=docs_port,
    )


@app.command()
def down() -> None:
    """End what `mlops up` started."""
    from mlops import standalone

    standalone.down(MLOpsConfig.load())
