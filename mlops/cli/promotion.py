"""`mlops promote|approve|reject|rollback|champion|reconcile`: who is champion, was champion, or shall be."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlops.cli.app import COLOURS, Json, app, date_of
from mlops.errors import MLOpsError

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[int | None, typer.Option("--version", help="Version. Default: the one that waits.")]
Comment = Annotated[str, typer.Option("--comment", help="Why; it is kept in the ledger.")]
_VERDICTS = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "cannot_tell": "[magenta]cannot tell[/]"}


@app.command()
def promote(
    model: Model,
    day: Annotated[str, typer.Option("--date", help="The night whose challenger it is, YYYY-MM-DD.")] = "",
    version: Annotated[int | None, typer.Option("--version", help="Which version. Default: the challenger.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show all checks and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make the validated challenger champion, if everything that was judged still holds."""
    from mlops.pipelines import checks, judged, promotion
    from mlops.pipelines.tasks import execute_alone
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    night = date_of(day, default=date.min) if day else judged.day_of(services, spec, version)
    if dry_run:
        found = promotion.dry_run(services, spec, night, version)
        verdict = checks.verdict_of(found)
        if as_json:
            rows = [{"name": c.name, "verdict": c.verdict, "reason": c.reason} for c in found]
            typer.echo(json.dumps({"verdict": verdict, "checks": rows}, indent=2))
        else:
            _print_checks(f"{model}: would be promoted for {night}?", found)
        raise typer.Exit(0 if verdict == "pass" else 3)
    _finish(execute_alone("promotion", services, spec, night, version=version), as_json)


@app.command()
def approve(model: Model, version: Version = None, comment: Comment = "", as_json: Json = False) -> None:
    """Approve the promotion of a version that waits for people; you are the `actor` of the settings."""
    _vote("approve", model, version, comment, as_json)


@app.command()
def reject(model: Model, version: Version = None, comment: Comment = "", as_json: Json = False) -> None:
    """Reject the promotion of a version that waits for people."""
    _vote("reject", model, version, comment, as_json)


@app.command()
def rollback(
    model: Model,
    to: Annotated[int | None, typer.Option("--to", help="Version to go back to. Default: the champion before.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")] = "",
    as_json: Json = False,
) -> None:
    """Give the model back to an earlier champion."""
    from mlops.pipelines import rollback as pipeline
    from mlops.pipelines.tasks import execute_alone
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    today = services.clock().date()
    asked = pipeline.ask(services, model)
    _finish(execute_alone("rollback", services, spec, today, to=to, reason=reason, ends=asked), as_json)


@app.command()
def champion(
    model: Model,
    at: Annotated[str, typer.Option("--at", help="A time, as 2026-03-05 or 2026-03-05T14:30 (UTC).")] = "",
    night: Annotated[str, typer.Option("--night", help="A night, YYYY-MM-DD: who stood after its decisions.")] = "",
    history: Annotated[bool, typer.Option("--history", help="All champions, newest first.")] = False,
    as_json: Json = False,
) -> None:
    """Who is champion, or was at a time: version, from, to, by whom and on what evidence."""
    from mlops.governance.champions import champion_after, champion_at, reigns
    from mlops.records import as_plain
    from mlops.services import Services

    services = Services.open()
    services.spec(model)
    found = reigns(services.ledger.entries(model))
    if history:
        chosen = tuple(reversed(found))
    else:
        reign = found[-1] if found else None
        if at or night:
            reign = champion_at(found, _moment(at)) if at else champion_after(found, date_of(night, default=date.max))
        chosen = (reign,) if reign else ()
    if as_json:
        rows = [as_plain(reign) for reign in chosen]
        told = rows if history else rows[0] if rows else None
        typer.echo(json.dumps(told, indent=2, default=_iso))
    elif not chosen:
        first = f" The first reign began {found[0].from_at:%Y-%m-%d %H:%M} UTC." if found else ""
        typer.echo(f"{model} had no champion then.{first}" if found else f"{model} has no champion yet.")
    else:
        _print_reigns(model, chosen)
    raise typer.Exit(0 if chosen else 3)


@app.command()
def reconcile(
    model: Annotated[str, typer.Argument(help="Name of the model. Default: all.")] = "",
    repair: Annotated[
        bool | None, typer.Option("--repair/--report", help="Put back, or only report. Default: as the spec says.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare aliases and stages with the ledger; put back what was changed outside, or report it."""
    from mlops.pipelines import reconcile as pipeline
    from mlops.records import to_dict
    from mlops.services import Services

    services = Services.open()
    specs = [services.spec(model)] if model else [spec for _, spec in sorted(services.specs().items())]
    answers = [pipeline.run(services, spec, repair) for spec in specs]
    if as_json:
        told = [to_dict(answer) for answer in answers]
        typer.echo(json.dumps(told[0] if model else told, indent=2))
    else:
        for answer in answers:
            _print(answer)
    raise typer.Exit(max((answer.exit_code for answer in answers), default=0))


def _vote(answer: Literal["approve", "reject"], model: str, version: int | None, comment: str, as_json: bool) -> None:
    from mlops.pipelines import approval
    from mlops.records import as_plain
    from mlops.services import Services

    services = Services.open()
    state = approval.vote(services, services.spec(model), answer, version=version, comment=comment)
    if as_json:
        typer.echo(json.dumps(as_plain(state), indent=2, default=_iso))
        return
    option = f" --version {version}" if version is not None else ""
    then = f" Now: mlops promote {model}{option}" if state.status == "approved" else ""
    typer.echo(f"{state.status.replace('_', ' ')}  {state.reason}{then}")


def _moment(text: str) -> datetime:
    """A time as people type it; a date is the end of that day, as a night knows it."""
    try:
        if len(text) <= len("2026-03-05"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) + timedelta(days=1)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time; write 2026-03-05 or 2026-03-05T14:30") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _print_reigns(model: str, chosen: tuple[Any, ...]) -> None:
    """One reign with all that is known of it; several as a table."""
    console = Console(highlight=False)
    if len(chosen) == 1:
        for name, value in _facts(chosen[0]).items():
            console.print(f"[bold]{name:<9}[/]{escape(value)}", soft_wrap=True)
        return
    table = Table(box=None, title=model, title_justify="left", title_style="bold", pad_edge=False)
    for name in ("version", "from (UTC)", "to", "how", "why"):
        table.add_column(name, no_wrap=name in ("version", "from (UTC)", "to"))
    for reign in chosen:
        when = _minute(reign.from_at), _minute(reign.until_at)
        table.add_row(f"v{reign.version}", *when, reign.kind, reign.reason)
    console.print(table)


def _facts(reign: Any) -> dict[str, str]:
    facts = {
        "champion": f"version {reign.version}",
        "from": f"{reign.from_at:%Y-%m-%d %H:%M:%S} UTC" + (f", night of {reign.night}" if reign.night else ""),
        "to": f"{reign.until_at:%Y-%m-%d %H:%M:%S} UTC" if reign.until_at else "now",
        "how": f"{reign.kind} by {reign.by}",
        "why": reign.reason,
        "evidence": reign.evidence_uri.replace(".json", ".html"),
        "sha256": reign.evidence_hash,
        "ledger": f"entry {reign.entry_seq}, {reign.entry_hash}",
    }
    return {name: value for name, value in facts.items() if value}


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "now"


def _print_checks(title: str, found: tuple[Any, ...]) -> None:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name in ("check", "holds", "why"):
        table.add_column(name, overflow="fold")
    for check in found:
        table.add_row(check.name, _VERDICTS[check.verdict], check.reason)
    Console(highlight=False).print(table)


def _finish(answer: Any, as_json: bool) -> None:
    """Print a step's answer and leave with its exit code."""
    from mlops.records import StepReport, to_dict

    if not isinstance(answer, StepReport):
        raise MLOpsError(f"{type(answer).__name__} is no answer of a step.")
    if as_json:
        typer.echo(json.dumps(to_dict(answer), indent=2))
    else:
        _print(answer)
    raise typer.Exit(answer.exit_code)


def _print(answer: Any) -> None:
    colour, label = COLOURS[answer.outcome], answer.outcome.replace("_", " ")
    Console(soft_wrap=True, highlight=False).print(f"[{colour}]{label}[/]  {answer.reason}")
