"""`mlops incidents …`: what people should know of, who looks after it, and what has not been told yet."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlops.cli.app import Json, app, date_of

if TYPE_CHECKING:
    from mlops.records import Incident
    from mlops.services import Services

incidents_app = typer.Typer(no_args_is_help=True, help="What was found and a person should know of.")
app.add_typer(incidents_app, name="incidents")

Reference = Annotated[str, typer.Argument(help="Number of the incident, or its key: the newest of <model>/<kind>.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept with the incident.")]
_COLOURS = {"open": "red", "acknowledged": "yellow", "silenced": "dim", "resolved": "green"}


@incidents_app.command("list")
def list_(
    model: Annotated[str, typer.Argument(help="Name of the model. Default: all.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: Json = False,
) -> None:
    """What is not over: number, model, kind, state, since when, and what happened."""
    services = _services()
    if model:
        services.spec(model)
    found = services.alerts.list_incidents(model, resolved=everything)
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in found], indent=2))
        return
    if not found:
        typer.echo("There is no incident." if everything else "No incident is open.")
        return
    names = ("number", "model", "kind", "urgency", "state", "since (UTC)", "dates", "what happened")
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for one in found:
        state = f"[{_COLOURS[one.state]}]{one.state}[/]"
        since = f"{one.first_seen_at:%Y-%m-%d %H:%M}" if one.first_seen_at else ""
        cells = (str(one.number), one.model, one.kind, one.urgency, state, since, str(one.count), escape(one.summary))
        table.add_row(*cells)
    Console().print(table)


@incidents_app.command("show")
def show(reference: Reference, as_json: Json = False) -> None:
    """All about one: what it means, what goes on, what to do, and what was done to it."""
    from mlops.monitoring.message import goes_on

    services = _services()
    one = services.alerts.find(reference)
    history = services.alerts.store.history(one.number)
    waiting = [message for message in services.alerts.outbox.waiting() if message.incident.number == one.number]
    if as_json:
        acts = [{"at": act.at.isoformat(), "what": act.what, "by": act.by, "note": act.note} for act in history]
        untold = [{"channel": m.channel, "event": m.event, "attempts": m.attempts, "error": m.error} for m in waiting]
        typer.echo(json.dumps(_plain(one) | {"history": acts, "not_told_yet": untold}, indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[bold]{one.number}  {escape(one.key)}[/]  {one.urgency}  [{_COLOURS[one.state]}]{one.state}[/]")
    facts = {
        "What happened": one.summary,
        "Parts": ", ".join(one.parts),
        "What it means": one.consequence,
        "What goes on": goes_on(one),
        "What to do": one.action,
        "Runbook": one.runbook,
        "Evidence": one.evidence_uri,
        "Owner": one.owner,
        "Found on": ", ".join(map(str, one.dates)) or f"{one.count} date(s), the newest {one.date}",
        "Silenced until": f"{one.silenced_until:%Y-%m-%d}" if one.silenced_until else "",
    }
    for heading, text in facts.items():
        if text:
            console.print(f"[bold]{heading}[/]  {escape(text)}")
    for act in history:
        who = f" by {act.by}" if act.by else ""
        why = f": {act.note}" if act.note else ""
        console.print(f"  {act.at:%Y-%m-%d %H:%M}  {act.what}{who}{why}", markup=False)
    for message in waiting:
        console.print(f"  not told yet on {message.channel}: {message.event} {message.error}", markup=False)


@incidents_app.command("ack")
def ack(reference: Reference, reason: Why = "", as_json: Json = False) -> None:
    """Say that you look after it: no reminders any more, unless it becomes more urgent."""
    services = _services()
    number = services.alerts.find(reference).number
    changed = services.alerts.acknowledge(number, by=services.actor, note=reason)
    _finish(services, number, as_json, f"{services.actor} looks after it." if changed else "Somebody does already.")


@incidents_app.command("silence")
def silence(
    reference: Reference,
    until: Annotated[str, typer.Option("--until", help="First date on which people may be told again, YYYY-MM-DD.")],
    reason: Why,
    as_json: Json = False,
) -> None:
    """Have nobody told of it up to a date, whatever becomes of it."""
    services = _services()
    number, day = services.alerts.find(reference).number, date_of(until, default=date.min)
    services.alerts.silence(number, until=day, by=services.actor, note=reason)
    _finish(services, number, as_json, f"Nobody is told of it before {day}.")


@incidents_app.command("resolve")
def resolve(reference: Reference, reason: Why = "", as_json: Json = False) -> None:
    """Say that it is over. Found again, it is back."""
    services = _services()
    number = services.alerts.find(reference).number
    changed = services.alerts.resolve_by_hand(number, by=services.actor, note=reason)
    _finish(services, number, as_json, "It is over." if changed else "It was over.")


@incidents_app.command("deliver")
def deliver(as_json: Json = False) -> None:
    """Tell what could not be told so far. Ends with 3 while something waits."""
    from dataclasses import asdict

    found = _services().alerts.deliver()
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        typer.echo(f"{found.sent} told, {found.waiting} still to be told.")
        for error in found.errors:
            typer.echo(f"  {error}")
    raise typer.Exit(3 if found.waiting else 0)


def _finish(services: Services, number: int, as_json: bool, said: str) -> None:
    one = services.alerts.store.get(number)
    typer.echo(json.dumps(_plain(one), indent=2) if as_json else f"{number}  {one.key}: {one.state}. {said}")


def _plain(one: Incident) -> dict[str, Any]:
    from mlops.records import to_dict

    return to_dict(one)


def _services() -> Services:
    from mlops.services import Services

    return Services.open()
