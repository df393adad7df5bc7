"""`mlops features list|describe|plot|stream|ui`: which features there are, how they look, how fresh, for whom."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlops.cli.app import Json, app

if TYPE_CHECKING:
    from mlops.features.profile import FeatureDay
    from mlops.pipelines.feature_catalogue import Use, ViewEntry

features_app = typer.Typer(no_args_is_help=True, help="Feature views.")
app.add_typer(features_app, name="features")

View = Annotated[str, typer.Argument(help="Name of the feature view.")]
_BLOCKS = "▁▂▃▄▅▆▇█"
_COLOURS = {"fresh": "green", "stale": "yellow", "no limit": "dim", "cannot tell": "magenta"}


@features_app.command("list")
def list_views(as_json: Json = False) -> None:
    """Show all feature views: owner, what is stored, how fresh it is, which models use it."""
    from mlops.pipelines import feature_catalogue
    from mlops.records import to_dict
    from mlops.services import Services

    entries = feature_catalogue.catalogue(Services.open())
    if as_json:
        typer.echo(json.dumps([to_dict(entry) for entry in entries], indent=2))
        return
    if not entries:
        typer.echo("No feature view is declared. See README, 'Your own data'.")
        return
    for entry in entries:
        _print_line(entry)


@features_app.command()
def describe(
    view: View,
    days: Annotated[int, typer.Option(help="Newest dates to look at.", min=1)] = 14,
    as_json: Json = False,
) -> None:
    """Show one view: what every feature means, how much of it is missing, and how it lies over the days."""
    from mlops.pipelines import feature_catalogue
    from mlops.records import to_dict
    from mlops.services import Services

    entry = feature_catalogue.view(Services.open(), view, days)
    if as_json:
        typer.echo(json.dumps(to_dict(entry), indent=2))
        return
    _print(entry.name, "bold")
    for name, text in facts(entry).items():
        _print(f"  {name:<10} {text}")
    _print("")
    width = max(map(len, entry.features))
    span = f"{len(entry.profile.days)} days"
    _print(f"{'':<{width}}  {'missing':>8} {'p5':>9} {'median':>9} {'p95':>9}  {span}", "dim")
    for feature, meaning in entry.features.items():
        missing, low, middle, high, line = _row(entry.profile.features[feature])
        _print(f"{feature:<{width}}  {missing:>8} {low:>9} {middle:>9} {high:>9}  {line}")
        _print(f"  {meaning}", "dim")


@features_app.command()
def plot(
    view: View,
    days: Annotated[int, typer.Option(help="Newest dates to show.", min=1)] = 30,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File. Default: <view>.html, here.")] = None,
) -> None:
    """Draw every feature of a view over the days, as one HTML page that needs no network."""
    from mlops.features.profile_page import page
    from mlops.pipelines import feature_catalogue
    from mlops.services import Services
    from mlops.storage import Storage

    entry = feature_catalogue.view(Services.open(), view, days)
    target = out or Path(f"{view}.html")
    Storage(str(target.parent)).write_bytes(str(target), page(entry.profile, entry.features, facts(entry)))
    typer.echo(f"{len(entry.features)} features over {len(entry.profile.days)} days: {target}")


@features_app.command()
def stream(
    model: Annotated[str, typer.Argument(help="Model whose views are filled.")],
    at_once: Annotated[int, typer.Option(help="Readings pushed together.", min=1)] = 1,
) -> None:
    """Push the features of readings from standard input, one JSON object a line, into the online store as they come.

    Ends with the input; the exit code is 3 if lines were refused. -v says why of each.
    """
    from mlops.pipelines import streaming
    from mlops.services import Services

    services = Services.open()
    done = streaming.Streamed()
    for done in streaming.follow(services, services.spec(model), sys.stdin, at_once=at_once):  # noqa: B007
        pass
    typer.echo(f"{done.lines:,} lines: {done.pushed:,} pushed, {done.too_late:,} too late, {done.refused:,} refused")
    if done.refused:
        raise typer.Exit(3)


@features_app.command()
def ui(port: Annotated[int, typer.Option(envvar="MLOPS_FEAST_PORT", help="Port of the page.")] = 8888) -> None:
    """Serve Feast's page over the registry on this machine, until Ctrl-C; `mlops up` does it too."""
    from mlops.features.ui import serve
    from mlops.health import HOST
    from mlops.services import Services

    typer.echo(f"Feast on http://localhost:{port}")
    serve(Services.open().features, host=HOST, port=port)


def facts(entry: ViewEntry) -> dict[str, str]:
    """What stands above the features, name to text."""
    seen = entry.profile
    span = f"{seen.days[0]} to {seen.days[-1]}" if seen.days else "nothing stored yet"
    told = {
        "what": entry.description,
        "owner": entry.owner,
        "entity": entry.entity + (f", {seen.entities:,} on the newest day" if seen.days else ""),
        "made of": f"data set {entry.dataset}" if entry.dataset else "not filled by this project",
        "stored": f"{seen.stored_days} days; shown: {span}, {seen.rows:,} rows" if seen.days else span,
        "newest": f"{seen.newest_at:%Y-%m-%d %H:%M} UTC" if seen.newest_at else "",
        "freshness": freshness(entry),
        "services": ", ".join(entry.services),
        "used by": "; ".join(f"{used(use)}, {len(use.features)} features" for use in entry.used_by) or "no model",
    }
    return {name: text for name, text in told.items() if text}


def freshness(entry: ViewEntry) -> str:
    """How old the newest reading is, against the time to live."""
    if entry.age_hours is None:
        return "cannot tell: nothing stored"
    limit = f", counts for {entry.ttl_hours:g} h" if entry.ttl_hours else ", counts for ever"
    return f"{entry.freshness} ({_age(entry.age_hours)} old{limit})"


def used(use: Use) -> str:
    """A model that uses a view, with its champion."""
    return f"{use.model} " + (f"(champion: version {use.champion})" if use.champion else "(no champion yet)")


def _print_line(entry: ViewEntry) -> None:
    seen = entry.profile
    stored = (
        f"{seen.stored_days} days up to {seen.newest_at:%Y-%m-%d %H:%M}" if seen.newest_at else "nothing stored yet"
    )
    _print(entry.name, "bold")
    _print(f"  {len(entry.features)} features of {entry.entity}, {stored}")
    _print(f"  {freshness(entry)}", _COLOURS[entry.freshness])
    _print(f"  used by {', '.join(used(use) for use in entry.used_by) or 'no model'}; owner: {entry.owner or 'nobody'}")


def _print(text: str, style: str = "") -> None:
    """A line as it is: brackets are units, not markup."""
    Console(highlight=False, soft_wrap=True).print(text, style=style, markup=False)


def _age(hours: float) -> str:
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"


def _row(days: tuple[FeatureDay, ...]) -> tuple[str, str, str, str, str]:
    from mlops.features.profile_page import number

    shares = [(day.null_share, day.rows) for day in days if day.null_share is not None]
    rows = sum(count for _, count in shares)
    missing = f"{100 * sum(share * count for share, count in shares) / rows:.1f} %" if rows else "–"
    last = next((day for day in reversed(days) if day.quantiles), None)
    if last is None:
        return missing, "–", "–", "–", ""
    low, middle, high = (number(last.quantiles[i]) for i in (0, 2, 4))
    return missing, low, middle, high, _sparkline([day.quantiles[2] if day.quantiles else None for day in days])


def _sparkline(values: list[float | None]) -> str:
    """Medians over the days as little blocks; a day without values is a gap.

    >>> _sparkline([1.0, None, 3.0, 2.0])
    '▁ █▅'
    >>> _sparkline([0.1, 0.1])
    '▅▅'
    """
    known = [value for value in values if value is not None]
    low, span = min(known), max(known) - min(known)
    if span <= max(1e-9 * max(map(abs, known)), 1e-12):  # what rounding leaves is no change
        low, span = low - 1.0, 2.0
    return "".join(" " if v is None else _BLOCKS[round((v - low) / span * (len(_BLOCKS) - 1))] for v in values)
