"""`mlops deploy|undeploy|rollback-deployment|deployments`: where a model's service runs, ran, or shall run."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from mlops.cli.app import COLOURS, Json, app
from mlops.deployment_settings import TargetName

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Target = Annotated[TargetName | None, typer.Option("--target", help="Where. Default: the setting deployment.target.")]
Wait = Annotated[float, typer.Option("--wait", min=1, help="Longest wait for it to be healthy [s].")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")]
WAIT_SECONDS = 600.0


@app.command()
def deploy(
    model: Model,
    target: Target = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on this machine (local, docker).")] = None,
    wait: Wait = WAIT_SECONDS,
    reason: Reason = "",
    leave: Annotated[
        bool, typer.Option("--leave", help="Kubernetes: leave what does not come up, instead of putting back what ran.")
    ] = False,
    render: Annotated[
        bool, typer.Option("--render", help="Print the Kubernetes objects as YAML; no cluster is asked.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Run the model's service, healthy and proven on golden rows, instead of what runs now."""
    from mlops.pipelines import deployment as pipeline
    from mlops.pipelines import deployment_targets as targets
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    if render:
        asked = targets.wanted(services, spec, "kubernetes", where="")
        typer.echo(targets.rendered(services, asked), nl=False)
        return
    asked = targets.wanted(services, spec, target, port)
    if dry_run:
        checked = targets.checked(services, asked)
        _print_plan(services, asked, checked, as_json)
        return
    with targets.open_target(services, asked.target) as chosen:
        options: dict[str, Any] = {"target": chosen, "tell": _tell(as_json), "seconds": wait}
        found = pipeline.deploy(services, spec, asked, reason=reason, leave=leave, **options)
    _finish(found, as_json)


@app.command()
def undeploy(model: Model, target: Target = None, as_json: Json = False) -> None:
    """Take the model's service down, once it has answered what was asked."""
    from mlops.pipelines import deployment as pipeline
    from mlops.pipelines import deployment_targets as targets
    from mlops.services import Services

    services = Services.open()
    services.spec(model)
    name = target or services.config.deployment.target
    where = targets.place(services, name)
    with targets.open_target(services, name) as chosen:
        found = pipeline.undeploy(services, model, name, where, target=chosen)
    _finish(found, as_json)


@app.command("rollback-deployment")
def rollback_deployment(
    model: Model, target: Target = None, wait: Wait = WAIT_SECONDS, reason: Reason = "", as_json: Json = False
) -> None:
    """Go back to the deployment before this one. (The version before this one: `mlops rollback`.)"""
    from mlops.pipelines import deployment as pipeline
    from mlops.pipelines import deployment_history as history
    from mlops.pipelines import deployment_targets as targets
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    name = target or services.config.deployment.target
    where = targets.place(services, name)
    standing = history.deployed(services.ledger.entries(model), name, where)
    ends = standing[-1].entry_seq if standing else None
    with targets.open_target(services, name) as chosen:
        options: dict[str, Any] = {"target": chosen, "tell": _tell(as_json), "seconds": wait}
        found = pipeline.rollback(services, spec, name, where, reason=reason, ends=ends, **options)
    _finish(found, as_json)


@app.command()
def deployments(
    model: Annotated[str, typer.Argument(help="Name of the model. Default: all.")] = "", as_json: Json = False
) -> None:
    """What is deployed where, since when and by whom, and whether it is well."""
    from mlops.pipelines import deployment_history as history
    from mlops.pipelines import deployment_targets as targets
    from mlops.records import to_dict
    from mlops.services import Services

    services = Services.open()
    names = [services.spec(model).name] if model else sorted(services.specs())
    found = [
        (made, targets.look(services, made))
        for name in names
        for made in history.standing(services.ledger.entries(name))
    ]
    if as_json:
        typer.echo(json.dumps([to_dict(made) | {"running": to_dict(now)} for made, now in found], indent=2))
    elif not found:
        typer.echo("Nothing is deployed. First: mlops deploy <model>")
    else:
        _print_all(found)
    raise typer.Exit(0 if all(now.state == "healthy" for _, now in found) else 3)


def _print_all(found: list[tuple[Any, Any]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for made, now in found:
        colour = {"healthy": "green", "unhealthy": "yellow", "gone": "red", "cannot_tell": "magenta"}[now.state]
        state = f"[{colour}]{now.state.replace('_', ' ')}[/]"
        console.print(f"[bold]{made.deployment.model}[/] on {made.deployment.target}: {state}  {escape(now.reason)}")
        why = f": {made.reason}" if made.reason else ""
        console.print(
            f"  {escape(now.url or now.place)}, since {made.at:%Y-%m-%d %H:%M} UTC by {escape(made.by + why)}"
        )


def _print_plan(services: Any, asked: Any, checked: str, as_json: bool) -> None:
    """What would change, field by field."""
    from mlops.pipelines import deployment_history as history
    from mlops.records import to_dict

    past = history.deployed(services.ledger.entries(asked.model), asked.target, asked.place)
    before, after = to_dict(past[-1].deployment) if past else {}, to_dict(asked)
    changes = {
        f.name: [before.get(f.name), after[f.name]] for f in fields(asked) if before.get(f.name) != after[f.name]
    }
    if as_json:
        typer.echo(json.dumps({"deployment": after, "changes": changes, "checked": checked}, indent=2))
    elif not changes:
        typer.echo(f"{asked.model} is deployed like this on {asked.target} already: nothing would change.")
    else:
        typer.echo(f"{asked.model} on {asked.target} ({asked.place}):")
        for name, (old, new) in changes.items():
            typer.echo(f"  {name:<13} {new}" if not past else f"  {name:<13} {old} -> {new}")
        typer.echo(checked)


def _tell(as_json: bool) -> Any:
    return (lambda _: None) if as_json else (lambda line: typer.echo(f"  {line}") if line else None)


def _finish(found: Any, as_json: bool) -> None:
    from mlops.records import to_dict

    if as_json:
        typer.echo(json.dumps(to_dict(found), indent=2))
    else:
        label = f"[{COLOURS[found.outcome]}]{found.outcome.replace('_', ' ')}[/]"
        Console(soft_wrap=True, highlight=False).print(f"{label}  {escape(found.reason)}")
    raise typer.Exit(found.exit_code)
