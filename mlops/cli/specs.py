"""`mlops spec …`: check model specs, and what may stand in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlops.cli.app import Json, app
from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError
from mlops.spec import ModelSpec, load_spec

spec_app = typer.Typer(no_args_is_help=True, help="Model specs.")
app.add_typer(spec_app, name="spec")


@spec_app.command("check")
def spec_check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Spec files; default: all of config/models.")] = None,
    as_json: Json = False,
) -> None:
    """Check model specs: keys, schedules, candidates and features; says what is wrong and what was probably meant."""
    from mlops.pipelines import spec_check

    config = MLOpsConfig.load()
    files = paths or sorted(config.models_dir.glob("*.yaml"))
    if not files:
        raise MLOpsError(f"No spec in {config.models_dir}.", hint="Write one: see README, 'Your own data'.")
    problems: dict[str, str] = {}
    for path in files:
        try:
            spec = load_spec(path, config.variables)
            found = spec_check.problems(config, spec)
        except MLOpsError as error:
            problems[str(path)] = str(error)
            continue
        if found:
            problems[str(path)] = f"{path} cannot work:\n" + "\n".join(f"  {line}" for line in found)
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
    from mlops.spec import reference

    typer.echo(reference.markdown(), nl=False)
