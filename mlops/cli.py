"""The command line: `mlops --help`.

Exit codes: 0 done (or nothing to do), 1 error, 2 usage, 3 "no" (gate refused, drift found, delivery quarantined) and
"cannot tell".

One rule: commands parse, call one function and print; with `--json` they print that function's record and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError, did_you_mean
from mlops.spec import ModelSpec, load_spec

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
spec_app = typer.Typer(no_args_is_help=True, help="Model specs.")
app.add_typer(spec_app, name="spec")

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_COLOURS = {"done": "green", "nothing_to_do": "dim", "no": "yellow", "cannot_tell": "magenta"}


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


@spec_app.command("check")
def spec_check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Spec files; default: all of config/models.")] = None,
    as_json: Json = False,
) -> None:
    """Check model specs; says every wrong key, where it is and what was probably meant."""
    config = MLOpsConfig.load()
    files = paths or sorted(config.models_dir.glob("*.yaml"))
    if not files:
        raise MLOpsError(f"No spec in {config.models_dir}.", hint="Write one: see README, 'Your own data'.")
    problems: dict[str, str] = {}
    for path in files:
        try:
            load_spec(path, config.variables)
        except MLOpsError as error:
            problems[str(path)] = str(error)
    if as_json:
        typer.echo(json.dumps({str(path): problems.get(str(path), "") for path in files}, indent=2))
    else:
        for path in files:
            typer.echo(problems.get(str(path)) or f"{path}: ok")
    if problems:
        raise typer.Exit(1)


@spec_app.command("schema")
def spec_schema() -> None:
    """Print the JSON schema of a model spec, for editors."""
    typer.echo(json.dumps(ModelSpec.model_json_schema(), indent=2))


@spec_app.command("reference")
def spec_reference() -> None:
    """Print what every key of a model spec means, as Markdown (docs/model-spec.md)."""
    from mlops import spec_reference

    typer.echo(spec_reference.markdown(), nl=False)


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="ingestion, features, training, validation, promotion, …, or all.")],
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    day: Annotated[str, typer.Option("--date", help="Date to work on, YYYY-MM-DD. Default: yesterday (UTC).")] = "",
    until: Annotated[str, typer.Option("--until", help="Work on every date from --date to this one.")] = "",
    reason: Annotated[str, typer.Option(help="Training: why it is started (schedule, drift, manual).")] = "manual",
    as_json: Json = False,
) -> None:
    """Run one step of one model for one date, or all steps of a night one after the other (`all`)."""
    from mlops.pipelines.tasks import STEPS, execute
    from mlops.services import Services

    if pipeline not in (*STEPS, "all"):
        raise typer.BadParameter(f"no pipeline {pipeline!r}. {did_you_mean(pipeline, [*STEPS, 'all'])}")
    first = _date(day, default=datetime.now(UTC).date() - timedelta(days=1))
    last = _date(until, default=first)
    if last < first:
        raise typer.BadParameter(f"--until {last} is before --date {first}")
    services = Services.open()
    spec = services.spec(model)
    steps = STEPS if pipeline == "all" else (pipeline,)
    worst = 0
    answers: list[dict[str, Any]] = []
    for current in (first + timedelta(days=i) for i in range((last - first).days + 1)):
        for step in steps:
            options = {"reason": reason} if step == "training" else {}
            answer = execute(step, services, spec, current, **options)
            worst = max(worst, answer.exit_code)
            answers.append(_plain(answer))
            if not as_json:
                colour = _COLOURS[answer.outcome]
                label = answer.outcome.replace("_", " ")
                Console(soft_wrap=True, highlight=False).print(
                    f"{current}  {step:<10} [{colour}]{label:<13}[/] {answer.reason}  [dim]{answer.seconds:.1f} s[/]"
                )
    if as_json:
        typer.echo(json.dumps(answers[0] if len(answers) == 1 else answers, indent=2))
    raise typer.Exit(worst)


@app.command()
def status(model: Annotated[str, typer.Argument(help="Name of the model.")], as_json: Json = False) -> None:
    """Where a model stands: champion, challengers, data, predictions, incidents."""
    from mlops.pipelines.status import status_of
    from mlops.services import Services

    services = Services.open()
    facts = status_of(services, services.spec(model))
    if as_json:
        typer.echo(json.dumps(facts, indent=2, default=str))
        return
    table = Table(show_header=False, box=None, title=model, title_justify="left", title_style="bold")
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), "\n".join(map(str, value)) if isinstance(value, list) else str(value))
    Console().print(table)


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
    end = _date(last, default=datetime.now(UTC).date() - timedelta(days=1))
    start = _date(first, default=end - timedelta(days=13))
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
) -> None:
    """Start Airflow and MLflow on this machine, without Docker; prints addresses and the login."""
    from mlops import standalone

    standalone.up(MLOpsConfig.load(), airflow_port=airflow_port, mlflow_port=mlflow_port)


@app.command()
def down() -> None:
    """End what `mlops up` started."""
    from mlops import standalone

    standalone.down(MLOpsConfig.load())


def _date(text: str, *, default: date) -> date:
    if not text:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date; write YYYY-MM-DD") from error


def _plain(answer: Any) -> dict[str, Any]:
    from mlops.records import to_dict

    return to_dict(answer)


if __name__ == "__main__":
    main()
