"""`mlops gc`, `mlops hold` and `mlops release`: what is deleted, and what must not be."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlops.cli.app import COLOURS, Json, app
from mlops.records import StepReport, from_dict, to_dict

_ROWS = 40  # a table of more is cut; --json shows all


@app.command()
def gc(
    model: Annotated[str, typer.Argument(help="Name of the model. Default: all.")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Delete. Without it nothing is changed.")] = False,
    as_json: Json = False,
) -> None:
    """Show what nobody can need any more (versions, runs, training sets, …) and why the rest stays; --apply deletes it.

    Without a model also what killed writers have left behind.
    """
    from mlops.pipelines import leftovers, retention
    from mlops.services import Services

    services = Services.open()
    specs = [services.spec(model)] if model else list(services.specs().values())
    answers = [retention.run(services, spec, apply) for spec in specs]
    if not model:
        answers.append(leftovers.run(services, apply))
    if as_json:
        typer.echo(json.dumps([to_dict(answer) for answer in answers], indent=2))
        return
    for answer in answers:
        _print(answer)
    if not apply and any(answer.outcome == "done" for answer in answers):
        typer.echo("Nothing was deleted. To delete: mlops gc --apply")


@app.command()
def hold(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[int, typer.Argument(help="Version that must not be deleted.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")],
) -> None:
    """Keep a version, its training set, runs and evidence, until it is released."""
    from mlops.pipelines import retention
    from mlops.services import Services

    services = Services.open()
    entry = retention.hold(services, services.spec(model).name, version, reason)
    typer.echo(f"Version {version} of {model} is held by {entry.actor} (ledger entry {entry.seq}).")


@app.command()
def release(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[int, typer.Argument(help="Version that was held.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")],
) -> None:
    """Take the hold off a version; it stays as long as something else asks for it."""
    from mlops.pipelines import retention
    from mlops.services import Services

    services = Services.open()
    entry = retention.release(services, services.spec(model).name, version, reason)
    said = f"is released (ledger entry {entry.seq})" if entry else "was not held"
    typer.echo(f"Version {version} of {model} {said}.")


def _print(answer: StepReport) -> None:
    from mlops.governance.retention import Collected

    found = from_dict(Collected, answer.record)
    console = Console(soft_wrap=True, highlight=False)
    label = answer.outcome.replace("_", " ")
    console.print(f"{answer.model or answer.step}  [{COLOURS[answer.outcome]}]{label}[/]  {answer.reason}")
    if not found.items:
        return
    table = Table("", "what", "MB", "why", box=None, header_style="bold", pad_edge=False)
    gone = "deleted" if found.applied else "delete"
    for item in found.items[:_ROWS]:
        verdict = "[dim]keep[/]" if item.keep else f"[yellow]{gone}[/]"
        short = "/".join(item.name.rstrip("/").split("/")[-3:])
        table.add_row(
            verdict, f"{item.kind.replace('_', ' ')} {short}", f"{item.size / 1e6:,.2f}", "; ".join(item.reasons)
        )
    Console().print(table)
    if len(found.items) > _ROWS:
        console.print(f"and {len(found.items) - _ROWS} more: --json shows all")
