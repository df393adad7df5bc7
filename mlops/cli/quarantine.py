"""`mlops quarantine …`: what waits there and why, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlops.cli.app import COLOURS, Json, app, date_of
from mlops.errors import SpecError, StorageError, did_you_mean

if TYPE_CHECKING:
    from mlops.data.finding import Finding
    from mlops.pipelines.quarantine import Waiting
    from mlops.records import StepReport
    from mlops.services import Services
    from mlops.spec import ModelSpec

quarantine_app = typer.Typer(no_args_is_help=True, help="Deliveries that broke their contract and wait for a decision.")
app.add_typer(quarantine_app, name="quarantine")

Name = Annotated[str, typer.Argument(help="Name of the model, or of its data set.")]
Day = Annotated[str, typer.Argument(help="Date of the delivery, YYYY-MM-DD.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger.")]


@quarantine_app.command("list")
def list_(
    name: Annotated[str, typer.Argument(help="Name of a model or data set. Default: all.")] = "", as_json: Json = False
) -> None:
    """What waits: data set, date, since when, and why."""
    from mlops.pipelines import quarantine
    from mlops.services import Services

    services = Services.open()
    found = quarantine.waiting(services, _specs(services, name))
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in found], indent=2))
        return
    if not found:
        typer.echo("Nothing waits in quarantine.")
        return
    table = Table("data set", "date", "since (UTC)", "rows", "why", box=None, header_style="bold", pad_edge=False)
    for one in found:
        since = one.since[:16].replace("T", " ")
        table.add_row(one.dataset, str(one.date), since, f"{one.rows:,}", escape("\n".join(one.reasons)))
    Console().print(table)


@quarantine_app.command("explain")
def explain(
    name: Name,
    day: Day,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page to this file as well.")] = None,
    as_json: Json = False,
) -> None:
    """Which rules a delivery breaks, and rows that break them, with their values."""
    from mlops.data.contract_page import page
    from mlops.data.finding import finding_to_dict
    from mlops.pipelines import quarantine
    from mlops.services import Services

    services = Services.open()
    spec = _spec(services, name)
    found = quarantine.explain(services, spec.dataset, _date(day))
    if html is not None:
        _write(html, page(found.date, found.rows, None, found.findings))
    if as_json:
        broken = [finding_to_dict(finding) for finding in found.broken]
        typer.echo(json.dumps(_plain(found) | {"broken": broken}, indent=2))
        return
    _print(spec, found)


@quarantine_app.command("release")
def release(name: Name, day: Day, reason: Reason, as_json: Json = False) -> None:
    """Publish a delivery as if it had kept its contract; the rules that were set aside stay with it."""
    from mlops.pipelines import quarantine
    from mlops.services import Services

    services = Services.open()
    spec = _spec(services, name)
    _finish(quarantine.release(services, spec, _date(day), reason), as_json)
    if not as_json:
        typer.echo(f"The next steps: mlops run features {spec.name} --date {day}, or trigger ingestion__{spec.name}.")


@quarantine_app.command("drop")
def drop(name: Name, day: Day, reason: Reason, as_json: Json = False) -> None:
    """Delete a delivery for good. What was published for the date before stays."""
    from mlops.pipelines import quarantine
    from mlops.services import Services

    services = Services.open()
    _finish(quarantine.drop(services, _spec(services, name), _date(day), reason), as_json)


def _finish(answer: StepReport, as_json: bool) -> None:
    from mlops.records import to_dict

    if as_json:
        typer.echo(json.dumps(to_dict(answer), indent=2))
        return
    colour, label = COLOURS[answer.outcome], answer.outcome.replace("_", " ")
    Console(soft_wrap=True, highlight=False).print(f"[{colour}]{label}[/]  {escape(answer.reason)}")


def _print(spec: ModelSpec, found: Waiting) -> None:
    console = Console(soft_wrap=True, highlight=False)
    since = f" since {found.since[:16].replace('T', ' ')} UTC" if found.since else ""
    console.print(f"[bold]{found.dataset} {found.date}[/]  {found.rows:,} rows wait{since}")
    if not found.findings:
        for reason in found.reasons:
            console.print(f"  {reason}", markup=False)
        console.print("  Its rows were not noted down: run ingestion for the date again.")
    for finding in found.broken:
        console.print(f"\n[yellow]{escape(finding.reason)}[/]" + ("  [red]cannot be set aside[/]" * finding.binding))
        if len(finding.examples):
            Console().print(_examples(finding))
    console.print(f"\nPage: {found.report_uri}" if found.report_uri else "")
    if any(finding.binding for finding in found.broken):
        console.print("Have it delivered again, or: ", f"mlops quarantine drop {spec.name} {found.date} --reason …")
    else:
        console.print(f"mlops quarantine release {spec.name} {found.date} --reason …   publishes it all the same")


def _examples(finding: Finding) -> Table:
    names = ["row", *map(str, finding.examples.columns)]
    table = Table(*names, box=None, header_style="dim", pad_edge=False)
    for row in finding.examples.itertuples(name=None):
        table.add_row(*(escape("null" if value is None else str(value)) for value in row))
    if finding.unexpected is not None and finding.unexpected > len(finding.examples):
        table.caption = f"{len(finding.examples)} of {finding.unexpected:,}"
    return table


def _plain(found: Waiting) -> dict[str, Any]:
    names = ("dataset", "model", "since", "rows", "report_uri")
    return {name: getattr(found, name) for name in names} | {
        "date": found.date.isoformat(),
        "reasons": list(found.reasons),
    }


def _date(text: str) -> date:
    return date_of(text, default=date.min)


def _spec(services: Services, name: str) -> ModelSpec:
    return _specs(services, name)[0]


def _specs(services: Services, name: str) -> Sequence[ModelSpec]:
    """The model of a name, or the models of a data set of that name; all for no name."""
    known = services.specs()
    if not name:
        return list(known.values())
    found = [known[name]] if name in known else [spec for spec in known.values() if spec.dataset == name]
    if not found:
        names = {*known, *(spec.dataset for spec in known.values())}
        raise SpecError(f"There is no model and no data set {name!r}.", hint=did_you_mean(name, names))
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error
