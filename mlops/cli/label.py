"""`mlops label …`: what people know about events and alarms."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlops.cli.app import Json, app, date_of

if TYPE_CHECKING:
    from mlops.pipelines.labelling import Alarm, Given

label_app = typer.Typer(no_args_is_help=True, help="Labels that people give, and what they say of alarms.")
app.add_typer(label_app, name="label")

Model = Annotated[str, typer.Argument(help="Name of the model.")]
AlarmId = Annotated[str, typer.Argument(help="The alarm, as `mlops label alarms` names it: <entity>@<time>.")]
Entity = Annotated[str, typer.Option("--entity", help="Key of what the label is about.")]
At = Annotated[str, typer.Option("--at", help="Time of the event, ISO 8601; UTC unless it says otherwise.")]
Comment = Annotated[str, typer.Option("--comment", help="Why; it is kept with the label.")]


@label_app.command("alarms")
def alarms(
    model: Model,
    first: Annotated[str, typer.Option("--from", help="First date, YYYY-MM-DD. Default: a week ago.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last date, YYYY-MM-DD. Default: today (UTC).")] = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only those nobody has said anything about.")] = False,
    as_json: Json = False,
) -> None:
    """The alarms of a model, with the name to confirm or dismiss each by."""
    from mlops.pipelines import labelling
    from mlops.services import Services

    services = Services.open()
    until = date_of(last, default=services.clock().date())
    since = date_of(first, default=until - timedelta(days=7))
    found = labelling.alarms(services, services.spec(model), since, until)
    found = [one for one in found if not (open_only and one.verdict)]
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in found], indent=2))
        return
    if not found:
        typer.echo(f"No {'open ' * open_only}alarms of {model} from {since} to {until}.")
        return
    table = Table("alarm", "until (UTC)", "rows", "score", "version", "said", box=None, header_style="bold")
    for one in found:
        said = f"{one.verdict} by {one.by}" if one.verdict else ""
        end, score = f"{one.end:%Y-%m-%d %H:%M}", f"{one.score:.4g}"
        table.add_row(escape(one.id), end, str(len(one.events)), score, str(one.version), said)
    Console().print(table)


@label_app.command("confirm")
def confirm(
    model: Model, alarm: AlarmId = "", entity: Entity = "", at: At = "", comment: Comment = "", as_json: Json = False
) -> None:
    """There was something: all rows of the alarm are labelled 1."""
    _judge(model, alarm, entity, at, comment, real=True, as_json=as_json)


@label_app.command("dismiss")
def dismiss(
    model: Model, alarm: AlarmId = "", entity: Entity = "", at: At = "", comment: Comment = "", as_json: Json = False
) -> None:
    """There was nothing: all rows of the alarm are labelled 0."""
    _judge(model, alarm, entity, at, comment, real=False, as_json=as_json)


@label_app.command("add")
def add(
    model: Model,
    entity: Entity,
    at: At,
    value: Annotated[str, typer.Option("--value", help="The label; `none` takes back what was said by hand.")],
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Label one event by hand. Said again with another value, that one counts from now on."""
    from mlops.pipelines import labelling
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    _told(labelling.add(services, spec, entity, _moment(at), labelling.value_of(value), comment), "", as_json)
    _hint(spec.label.store if spec.label else (), "hand", as_json)


@label_app.command("import")
def import_(
    model: Model,
    file: Annotated[Path, typer.Argument(help="CSV with the entity's and the event's column, and the label's.")],
    column: Annotated[str, typer.Option("--column", help="Column of the label. Default: the spec's, or `label`.")] = "",
    timezone: Annotated[str, typer.Option("--timezone", help="Zone of times that carry none.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take labels from a file. They arrive now: no night that is over sees them. An empty label takes one back."""
    from mlops.pipelines import labelling
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    given = labelling.import_file(services, spec, file, column=column, timezone=timezone or None, dry_run=dry_run)
    _told(given, "", as_json)
    _hint(spec.label.store if spec.label else (), "import", as_json)


@label_app.command("list")
def list_(
    model: Model,
    entity: Annotated[str, typer.Option("--entity", help="Only about this one.")] = "",
    last: Annotated[int, typer.Option("--last", min=1, help="At most this many, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """What people said, in the order in which they said it; what was revised stays."""
    from mlops.services import Services

    services = Services.open()
    found = services.labels.history(services.spec(model).name, entity=entity, last=last)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=lambda moment: moment.isoformat()))
        return
    if not found:
        typer.echo(f"Nobody has said anything about {entity or model}.")
        return
    columns = ("arrived (UTC)", "entity", "event (UTC)", "label", "source", "by", "comment")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for one in found:
        arrived = f"{one.arrived_at:%Y-%m-%d %H:%M}" if one.arrived_at else ""
        value = "taken back" if one.value is None else f"{one.value:g}" if isinstance(one.value, float) else one.value
        table.add_row(
            arrived, escape(one.entity), f"{one.event_at:%Y-%m-%d %H:%M:%S}", value, one.source, one.actor,
            escape(one.comment),
        )  # fmt: skip
    Console().print(table)


def _judge(model: str, alarm: str, entity: str, at: str, comment: str, *, real: bool, as_json: bool) -> None:
    from mlops.pipelines import labelling
    from mlops.services import Services

    if alarm:
        entity, _, at = alarm.rpartition("@")
    if not entity or not at:
        raise typer.BadParameter("name the alarm as <entity>@<time>, or give --entity and --at")
    services = Services.open()
    spec = services.spec(model)
    found, given = labelling.judge(services, spec, entity, _moment(at), real=real, comment=comment)
    word = "confirmed" if real else "dismissed"
    _told(given, f"{found.id} is {word}. ", as_json)
    _hint(spec.label.store if spec.label else (), "alarm", as_json)


def _told(given: Given, words: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(given), indent=2))
        return
    verb = "would be looked at" if given.dry_run else f"given, {given.added:,} of them new"
    missing = (
        f" {given.without_event:,} are about events that are not in the data (yet)." if given.without_event else ""
    )
    typer.echo(f"{words}{given.rows:,} {'label' if given.rows == 1 else 'labels'} {verb}.{missing}")


def _hint(store: tuple[str, ...], source: str, as_json: bool) -> None:
    """Labels that the spec does not ask for are kept, and nobody learns from them: say so."""
    if source not in store and not as_json:
        typer.echo(f"The spec does not count them: to learn from them, set label: {{store: [{source}]}}.")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time; write 2026-03-05T14:30:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(alarm: Alarm) -> dict[str, Any]:
    names = ("id", "entity", "score", "version", "verdict", "by")
    times = {"start": alarm.start.isoformat(), "end": alarm.end.isoformat(), "rows": len(alarm.events)}
    return {name: getattr(alarm, name) for name in names} | times
