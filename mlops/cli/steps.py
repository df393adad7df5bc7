"""`mlops run` and `mlops status`: do the work of a night by hand, and see where a model stands."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlops.cli.app import COLOURS, Json, app, date_of
from mlops.errors import did_you_mean

if TYPE_CHECKING:
    from mlops.services import Services

_TONES = {"good": "green", "bad": "red", "unsure": "magenta", "quiet": "dim"}


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
    from mlops.records import to_dict
    from mlops.services import Services

    if pipeline not in (*STEPS, "all"):
        raise typer.BadParameter(f"no pipeline {pipeline!r}. {did_you_mean(pipeline, [*STEPS, 'all'])}")
    first = date_of(day, default=datetime.now(UTC).date() - timedelta(days=1))
    last = date_of(until, default=first)
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
            answers.append(to_dict(answer))
            if not as_json:
                colour = COLOURS[answer.outcome]
                label = answer.outcome.replace("_", " ")
                Console(soft_wrap=True, highlight=False).print(
                    f"{current}  {step:<10} [{colour}]{label:<13}[/] {answer.reason}  [dim]{answer.seconds:.1f} s[/]"
                )
    if as_json:
        typer.echo(json.dumps(answers[0] if len(answers) == 1 else answers, indent=2))
    raise typer.Exit(worst)


@app.command()
def status(
    model: Annotated[str, typer.Argument(help="Name of the model. Default: all, one line each.")] = "",
    as_json: Json = False,
) -> None:
    """Where a model stands: champion, challengers, data, predictions, incidents; or where all of them stand."""
    from mlops.services import Services

    services = Services.open()
    if not model:
        _status_of_all(services, as_json)
        return
    from mlops.pipelines.status import status_of

    facts = status_of(services, services.spec(model))
    if as_json:
        typer.echo(json.dumps(facts, indent=2, default=str))
        return
    table = Table(show_header=False, box=None, title=model, title_justify="left", title_style="bold")
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), "\n".join(map(str, value)) if isinstance(value, list) else str(value))
    Console().print(table)


def _status_of_all(services: Services, as_json: bool) -> None:
    from mlops.pipelines.overview import overview

    found = [overview(services, spec) for spec in services.specs().values()]
    if as_json:
        typer.echo(json.dumps([one.facts() for one in found], indent=2, default=str))
        return
    table = Table("model", "champion", "since (UTC)", "last steps", "incidents", box=None, title_justify="left")
    for one in found:
        champion, steps = one.champion, Text(" ").join(Text(step.glyph, _TONES[step.tone]) for step in one.steps)
        incidents = Text(str(len(one.incidents)), "red") if one.incidents else Text("none")
        table.add_row(
            one.model,
            f"version {champion.version}" if champion else "none yet",
            f"{champion.from_at:%Y-%m-%d %H:%M}" if champion else "",
            steps,
            Text("; ".join(one.unknown), "red") if one.unknown else incidents,
        )
    Console().print(table)
    Console().print("last steps: ingestion to monitoring; ✓ done, ! no, ? cannot tell, · nothing to do or not yet")
