"""`mlops ab …`: plan, start, watch and stop experiments."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from mlops.cli.app import Json, app, date_of

if TYPE_CHECKING:
    from mlops.pipelines.experiment_state import ExperimentState
    from mlops.spec.experiment import ExperimentSpec

ab_app = typer.Typer(no_args_is_help=True, help="Experiments: A/B tests, canaries, shadows and bandits.")
app.add_typer(ab_app, name="ab")

Name = Annotated[str, typer.Argument(help="Name of the experiment.")]


@ab_app.command("plan")
def plan(
    experiment: Annotated[
        str, typer.Option(help="Take effect, alpha, power, looks and shares from this experiment's file.")
    ] = "",
    effect_size: Annotated[float | None, typer.Option("--effect", help="Smallest difference worth finding.")] = None,
    base: Annotated[float | None, typer.Option(help="Of a proportion: the control's share.")] = None,
    sd: Annotated[float | None, typer.Option(help="Of a mean: the standard deviation over units.")] = None,
    alpha: Annotated[float, typer.Option(help="Error rate of all looks together.")] = 0.05,
    power: Annotated[float, typer.Option(help="Probability to find the effect.")] = 0.8,
    looks: Annotated[int, typer.Option(min=1, max=1000, help="Planned looks, such as nights.")] = 1,
    share: Annotated[float, typer.Option(help="Share of the units that get the treatment.")] = 0.5,
    one_sided: Annotated[bool, typer.Option("--one-sided", help="Only a better treatment is a finding.")] = False,
    spending: Annotated[
        Literal["obrien_fleming", "pocock", "linear"], typer.Option(help="How alpha is spent over the looks.")
    ] = "obrien_fleming",
    units_per_day: Annotated[float | None, typer.Option(help="New units a day, of all variants.")] = None,
    explained: Annotated[float, typer.Option(help="Share of the variance that a covariate explains (CUPED).")] = 0.0,
    as_json: Json = False,
) -> None:
    """How many units and days an experiment needs, looks included."""
    from mlops.experiments.ab import planning
    from mlops.experiments.ab.sequential import Design
    from mlops.records import as_plain

    design = Design(alpha, 1 if one_sided else 2, spending)
    if experiment:
        asked = _planned(experiment)
        decision, metric = asked.decision, asked.metric
        design = Design(decision.alpha / (len(asked.variants) - 1), decision.sides, decision.spending)
        power, looks, one_sided = decision.power, decision.days, decision.sides == 1
        share = asked.variants[1].weight / (asked.variants[0].weight + asked.variants[1].weight)
        effect_size = metric.minimum_effect if metric and effect_size is None else effect_size
    if effect_size is None:
        raise typer.BadParameter("give --effect, or --experiment whose metric says it")
    found = planning.plan(
        effect_size=effect_size,
        sd=sd,
        base=base,
        design=design,
        power=power,
        looks=looks,
        share=share,
        units_per_day=units_per_day,
        explained=explained,
    )
    if as_json:
        typer.echo(json.dumps(as_plain(found) | {"n": found.n}, indent=2))
        return
    cost = f", {100 * (found.inflation - 1):.1f} % more than for one look" if looks > 1 else ""
    typer.echo(f"units   {found.n:,}: {found.n_control:,} control, {found.n_treatment:,} treatment{cost}")
    if found.days is not None:
        typer.echo(f"days    {found.days:,} at {units_per_day:,.0f} units a day")
    sides = "one-sided" if one_sided else "two-sided"
    typer.echo(
        f"finds   a difference of {effect_size:g} with probability {power:g}, at alpha {design.alpha:g} ({sides})"
    )


@ab_app.command("check")
def check(as_json: Json = False) -> None:
    """Check all experiment files: keys, variants, and whether they could run together."""
    from mlops.config import MLOpsConfig
    from mlops.errors import MLOpsError
    from mlops.spec.experiments import conflicts, load_experiment

    config = MLOpsConfig.load()
    told: dict[str, str] = {}
    good = []
    for path in sorted(config.experiments_dir.glob("*.yaml")):
        try:
            good.append(load_experiment(path, config.variables))
            told[str(path)] = ""
        except MLOpsError as error:
            told[str(path)] = str(error)
    clashes = conflicts(good)
    if as_json:
        typer.echo(json.dumps({"files": told, "conflicts": clashes}, indent=2))
    else:
        for path_, problem in told.items():
            typer.echo(problem or f"{path_}: ok")
        for clash in clashes:
            typer.echo(f"not together: {clash}")
        if not told:
            typer.echo(f"No experiment in {config.experiments_dir}.")
    if any(told.values()):
        raise typer.Exit(1)


@ab_app.command("reference")
def experiment_reference() -> None:
    """Print what every key of an experiment means, as Markdown (docs/experiment-spec.md)."""
    from mlops.spec import reference

    typer.echo(reference.experiments(), nl=False)


@ab_app.command("start")
def start(
    name: Name,
    day: Annotated[str, typer.Option("--date", help="First date whose outcomes count. Default: today (UTC).")] = "",
    as_json: Json = False,
) -> None:
    """Start an experiment; its aliases mean what they mean now until it ends."""
    from mlops.pipelines import experiments
    from mlops.services import Services
    from mlops.spec.experiments import find_experiment

    services = Services.open()
    spec = find_experiment(services.config.experiments_dir, name, services.config.variables)
    state = experiments.start(services, spec, date_of(day, default=services.clock().date()))
    _show([state], as_json=as_json, one=True)


@ab_app.command("stop")
def stop(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")] = "Stopped by hand.",
    as_json: Json = False,
) -> None:
    """End an experiment: the champion answers its units again."""
    from mlops.pipelines import experiments
    from mlops.services import Services

    services = Services.open()
    _show([experiments.stop(services, experiments.find(services, name), reason=reason)], as_json=as_json, one=True)


@ab_app.command("status")
def status(
    name: Annotated[str, typer.Argument(help="Name of the experiment. Default: all.")] = "", as_json: Json = False
) -> None:
    """Where experiments stand: variants, looks, and what was decided."""
    from mlops.pipelines import experiments
    from mlops.services import Services

    services = Services.open()
    if name:
        _show([experiments.find(services, name)], as_json=as_json, one=True)
        return
    _show(list(experiments.all_states(services)), as_json=as_json, one=False)


@ab_app.command("look")
def look(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    day: Annotated[str, typer.Option("--date", help="Night, YYYY-MM-DD. Default: yesterday (UTC).")] = "",
    as_json: Json = False,
) -> None:
    """Look at the experiments of a model, as the nightly DAG does. A night is looked at once."""
    from mlops.pipelines.tasks import execute_alone
    from mlops.records import to_dict
    from mlops.services import Services

    services = Services.open()
    night = date_of(day, default=datetime.now(UTC).date() - timedelta(days=1))
    answer = execute_alone("ab_analysis", services, services.spec(model), night)
    if as_json:
        typer.echo(json.dumps(to_dict(answer), indent=2))
    else:
        typer.echo(f"{answer.outcome.replace('_', ' ')}  {answer.reason}")
    raise typer.Exit(answer.exit_code)


@ab_app.command("watch")
def watch(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    every: Annotated[float, typer.Option(min=0, help="Look again so often [s]. Default: look once.")] = 0.0,
    day: Annotated[str, typer.Option("--date", help="The day under way, YYYY-MM-DD. Default: today (UTC).")] = "",
    as_json: Json = False,
) -> None:
    """Take a canary back as soon as its outcomes say that it harms; exit code 3 if one was. It decides nothing else."""
    from mlops.pipelines import ab_analysis
    from mlops.records import to_dict
    from mlops.services import Services

    services = Services.open()
    spec = services.spec(model)
    while True:
        answer = ab_analysis.watch(services, spec, date_of(day, default=services.clock().date()))
        if as_json:
            typer.echo(json.dumps(to_dict(answer)))
        else:
            typer.echo(f"{answer.outcome.replace('_', ' ')}  {answer.reason}")
        if not every or answer.outcome != "done":
            raise typer.Exit(answer.exit_code)
        time.sleep(every)


@ab_app.command("route")
def route(
    name: Name,
    unit: Annotated[str, typer.Argument(help="Whom the answer is for.")],
    force: Annotated[str, typer.Option(help="A variant, for testing.")] = "",
    as_json: Json = False,
) -> None:
    """Which variant a unit meets."""
    from mlops.records import as_plain
    from mlops.services import Services
    from mlops.serving.routing import assign
    from mlops.serving.routing_table import read_table

    found = assign(read_table(Services.open().storage).route(name), unit, force=force)
    if as_json:
        typer.echo(json.dumps(as_plain(found), indent=2))
    else:
        typer.echo(f"{found.variant}  version {found.version}  ({found.reason})")


@ab_app.command("publish")
def publish(as_json: Json = False) -> None:
    """Bring the routing table up to the ledger, where a process was killed in between."""
    from mlops.pipelines import experiments
    from mlops.records import to_dict
    from mlops.services import Services

    table = experiments.publish(Services.open())
    if as_json:
        typer.echo(json.dumps(to_dict(table), indent=2))
    else:
        typer.echo(f"{len(table.routes)} experiments are routed: {', '.join(table.routes) or 'none'}.")


def _planned(name: str) -> ExperimentSpec:
    from mlops.config import MLOpsConfig
    from mlops.spec.experiments import find_experiment

    config = MLOpsConfig.load()
    return find_experiment(config.experiments_dir, name, config.variables)


def _show(states: list[ExperimentState], *, as_json: bool, one: bool) -> None:
    if as_json:
        told = [_told(state) for state in states]
        typer.echo(json.dumps(told[0] if one else told, indent=2))
        return
    if not states:
        typer.echo("No experiment was ever started. Start one: mlops ab start <name>")
        return
    table = Table("experiment", "model", "kind", "status", "variants", "looks", "says", box=None, pad_edge=False)
    for state in states:
        total = sum(variant.weight for variant in state.variants) or 1.0
        variants = ", ".join(f"{v.name} v{v.version} {100 * v.weight / total:.3g} %" for v in state.variants)
        says = state.reason or (state.looks[-1].reason if state.looks else f"since {state.started_on}")
        table.add_row(
            state.spec.name, state.spec.model, state.spec.kind, state.status, variants, str(len(state.looks)), says
        )
    Console(highlight=False).print(table)


def _told(state: ExperimentState) -> dict[str, Any]:
    from mlops.records import as_plain, to_dict

    facts: dict[str, Any] = {"experiment": state.spec.name, "model": state.spec.model, "kind": state.spec.kind}
    facts |= {name: getattr(state, name) for name in ("number", "status", "step", "reason", "winner", "started_by")}
    facts |= {"started_on": state.started_on.isoformat(), "started_at": state.started_at.isoformat()}
    facts["stopped_at"] = state.stopped_at.isoformat() if state.stopped_at else None
    facts["variants"] = [as_plain(variant) for variant in state.variants]
    return facts | {"looks": [to_dict(each) for each in state.looks]}
