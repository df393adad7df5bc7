"""`mlops backtest`: what each retraining policy would have cost, and how good it would have been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.cli.app import Json, app, date_of

if TYPE_CHECKING:
    from rich.table import Table

    from mlops.pipelines.backtest import Backtest


@app.command()
def backtest(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    start: Annotated[str, typer.Option("--from", help="Night whose training makes the first champion (YYYY-MM-DD).")],
    end: Annotated[str, typer.Option("--to", help="Last night (YYYY-MM-DD).")],
    policies: Annotated[
        Path | None, typer.Option("--policies", help="YAML file of policies. Default: six that everybody asks for.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes side by side.", min=1)] = 2,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to put a copy of the page.")] = None,
    as_json: Json = False,
) -> None:
    """Live through history under several retraining policies: cost, quality night by night, regret, false alarms."""
    from datetime import date

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from mlops.pipelines import backtest as pipeline
    from mlops.pipelines import backtest_page
    from mlops.records import to_dict
    from mlops.services import Services
    from mlops.spec import load_policies

    first, last = date_of(start, default=date.min), date_of(end, default=date.max)
    services = Services.open()
    spec = services.spec(model)
    asked = load_policies(policies) if policies is not None else None
    console = Console(stderr=True, quiet=as_json)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=console) as bars:
        tasks: dict[str, int] = {}

        def progress(what: str, done: int, of: int) -> None:
            task = tasks.setdefault(what, -1)
            if task < 0:
                task = tasks[what] = bars.add_task(what, total=of)
            bars.update(task, completed=done)  # type: ignore[arg-type]

        found = pipeline.run(services, spec, first, last, asked, workers=workers, progress=progress)
    page = f"{found.place}/backtest.html"
    data = backtest_page.page(found)
    services.storage.write_bytes(page, data)
    if out is not None:
        out.write_bytes(data)
    if as_json:
        typer.echo(json.dumps(to_dict(found), indent=2, default=str))
        return
    Console().print(_table(found))
    typer.echo(_in_words(found))
    typer.echo(f"Page: {out or page}")


def _table(found: Backtest) -> Table:
    from rich.table import Table

    better = "more is better" if found.higher_is_better else "less is better"
    table = Table(title=f"{found.model}, {found.start} to {found.end}; {found.metric}, {better}")
    table.add_column("policy")
    for name in (found.metric, "95 %", "regret", "95 %", "trainings", "promoted", "alarms", "in vain", "CPU [s]"):
        table.add_column(name, justify="right")
    for one in found.standings:
        table.add_row(
            one.policy,
            _number(one.quality),
            _span(one.quality_interval),
            _number(one.regret),
            _span(one.regret_interval),
            str(one.trainings),
            str(one.promotions),
            str(one.alarms),
            str(one.false_alarms),
            f"{one.cpu_seconds:.1f}",
        )
    return table


def _in_words(found: Backtest) -> str:
    real = [one for one in found.standings if one.quality is not None and one.policy != "oracle"]
    if not real:
        return "No night has a truth, so nothing can be said of any policy."
    sign = 1 if found.higher_is_better else -1
    best = max(real, key=lambda one: sign * (one.quality or 0.0))
    return f"Best on average: {best.policy}, {_number(best.quality)} with {best.trainings} trainings."


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _span(span: tuple[float, float] | None) -> str:
    return "–" if span is None else f"{span[0]:.4g} … {span[1]:.4g}"
