"""`mlops performance`: how good the predictions of each night were, or probably are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlops.cli.app import Json, app, date_of

if TYPE_CHECKING:
    from mlops.monitoring.estimates import Estimate
    from mlops.pipelines.night_performance import NightPerformance


@app.command()
def performance(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    day: Annotated[str, typer.Option("--date", help="What is known as of this night. Default: yesterday (UTC).")] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="How many nights up to it.")] = 14,
    as_json: Json = False,
) -> None:
    """How good the predictions of each night were; until labels come, how good they probably are, or cannot be told."""
    from mlops.pipelines import performance as pipeline
    from mlops.pipelines.night_performance import Performance
    from mlops.records import from_dict, to_dict
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    last = date_of(day, default=datetime.now(UTC).date() - timedelta(days=1))
    answer = pipeline.run(services, spec, last, days)
    if as_json:
        typer.echo(json.dumps(to_dict(answer), indent=2))
    elif answer.record:
        _print(from_dict(Performance, answer.record).nights)
    if not as_json:
        typer.echo(answer.reason)
    raise typer.Exit(answer.exit_code)


def _print(nights: tuple[NightPerformance, ...]) -> None:
    names = (
        "night",
        "version",
        "rows",
        "labelled",
        "metric",
        "measured",
        "estimated without labels",
        "held",
        "why not",
    )
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for night in nights:
        realised = {one.metric: one for one in night.realised}
        estimated = {one.metric: one for one in night.estimated}
        for metric in dict.fromkeys([*realised, *estimated]) or ("",):
            known, guess = realised.get(metric), estimated.get(metric)
            held = (night.held or {}).get(metric)
            why = " ".join(filter(None, [night.reason if known is None else "", guess.reason if guess else ""]))
            head = (str(night.date), str(night.version), f"{night.rows:,}", f"{night.labelled:,}")
            mark = "" if held is None else "[green]yes[/]" if held else "[red]no[/]"
            table.add_row(*head, metric, _shown(known), _shown(guess), mark, escape(why))
    Console().print(table)


def _shown(one: Estimate | None) -> str:
    if one is None:
        return ""
    if one.value is None:
        return "cannot tell"
    return f"{one.value:.3f}" + (f" ({one.low:.3f} to {one.high:.3f})" if one.low is not None else "")
