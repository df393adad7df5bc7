"""Experiments begin, grow and end: each as one entry of the ledger, projected into the routing table.

Reads: the experiment's spec, the registry's aliases, the ledger. Writes: the ledger, and the routing table that serving
processes follow. A process killed in between leaves a table that is behind the ledger; the next change, the next night
or `mlops ab publish` brings it up.

One rule: the ledger says what runs; the table follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from mlops.errors import ConfigError, RegistryError, did_you_mean
from mlops.pipelines.experiment_state import START, STEP, STOP, ExperimentState, key_of, running, states
from mlops.records import to_dict
from mlops.services import Services
from mlops.serving.routing import RoutingTable, Variant
from mlops.serving.routing_canary import CanaryDecision, StepCounts, decide
from mlops.serving.routing_table import read_table, write_table
from mlops.spec.experiment import ExperimentSpec
from mlops.spec.experiments import conflicts

LEASE_SECONDS, WAIT_SECONDS = 30, 40


def all_states(services: Services, model: str | None = None) -> tuple[ExperimentState, ...]:
    """All runs of all experiments, or of those of a model."""
    kinds = (START, STEP, "experiment_look", STOP)
    entries = [entry for kind in kinds for entry in services.ledger.entries(model, kind)]
    return states(sorted(entries, key=lambda entry: entry.seq))


def find(services: Services, name: str) -> ExperimentState:
    """The newest run of an experiment.

    Raises:
        ConfigError: it was never started.
    """
    found = {state.spec.name: state for state in all_states(services)}
    if name not in found:
        hint = did_you_mean(name, found) if found else f"Start it: mlops ab start {name}"
        raise ConfigError(f"No experiment {name!r} was ever started.", hint=hint)
    return found[name]


def start(services: Services, spec: ExperimentSpec, day: date) -> ExperimentState:
    """Begin an experiment. If it runs already, nothing happens.

    Args:
        services: the adapters.
        spec: the experiment.
        day: the first date whose outcomes count.

    Raises:
        ConfigError: an unknown model, or another experiment takes the same units.
        RegistryError: a version or alias does not exist, or two variants are one version.
        LeaseError: another experiment is being started or stopped.
    """
    services.spec(spec.model)
    with _exclusive(services):
        before = all_states(services)
        if there := next((s for s in running(before) if s.spec.name == spec.name), None):
            publish(services)
            return there
        if clash := [c for c in conflicts([*(s.spec for s in running(before)), spec]) if spec.name in c]:
            raise ConfigError(" ".join(clash), hint="See: mlops ab status")
        number = 1 + sum(state.spec.name == spec.name for state in before)
        variants = _resolved(services, spec)
        body = {
            "experiment": spec.name,
            "number": number,
            "date": day.isoformat(),
            "spec": spec.model_dump(mode="json"),
            "variants": [to_dict(variant) for variant in variants],
            "reason": f"{spec.kind} {spec.name} starts: "
            + ", ".join(f"{v.name} is version {v.version}" for v in variants),
        }
        _append(services, START, spec.model, body, f"{key_of(spec.model, spec.name, number)}/start")
        if spec.kind == "bandit":
            services.bandits.open(f"{spec.name}/{number}", [variant.name for variant in variants])
        publish(services)
        return find(services, spec.name)


def stop(services: Services, state: ExperimentState, *, reason: str, winner: str = "") -> ExperimentState:
    """End an experiment: from now on the champion answers its units. If it has ended, nothing happens."""
    with _exclusive(services):
        now = find(services, state.spec.name)
        if now.status == "running" and now.number == state.number:
            body = {"experiment": state.spec.name, "number": state.number, "reason": reason, "winner": winner}
            _append(services, STOP, state.spec.model, body, f"{state.key}/stop")
        publish(services)
        return find(services, state.spec.name)


def observe(
    services: Services, name: str, steps: Sequence[StepCounts], *, day: date | None = None
) -> tuple[ExperimentState, CanaryDecision]:
    """Judge a canary by what its units met so far, and let it grow, end, or take it back.

    Args:
        services: the adapters.
        name: of a canary that runs.
        steps: counts of every step it has had, the present one last.
        day: the last date that was counted; a next step begins the day after. Default: yesterday, so today.

    Raises:
        ConfigError: it does not run, is no canary, or is at another step.
    """
    state = find(services, name)
    if state.status != "running" or state.spec.kind != "canary":
        raise ConfigError(
            f"{name} is no canary that runs: {state.spec.kind}, {state.status}.", hint="See: mlops ab status"
        )
    if len(steps) != state.step + 1:
        raise ConfigError(f"{name} is at step {state.step + 1}, counts of {len(steps)} steps were given.")
    decision = decide(state.spec.canary, steps)
    if decision.action == "advance":
        control, treatment = (variant.name for variant in state.variants)
        weights = {control: 1 - decision.share, treatment: decision.share}
        since = day + timedelta(days=1) if day else services.clock().date()
        reweigh(services, state, decision.step, weights, since=since, reason=decision.reason)
    elif decision.action in ("rollback", "complete"):
        winner = state.variants[decision.action == "complete"].name
        stop(services, state, reason=decision.reason, winner=winner)
    return find(services, name), decision


def reweigh(
    services: Services, state: ExperimentState, step: int, weights: Mapping[str, float], *, since: date, reason: str
) -> None:
    """Give the variants of an experiment other weights from a date on: its next step, which is made once."""
    if state.step >= step:
        return
    body = {"experiment": state.spec.name, "number": state.number, "step": step, "weights": dict(weights)}
    body |= {"date": since.isoformat(), "reason": reason}
    with _exclusive(services):
        _append(services, STEP, state.spec.model, body, f"{state.key}/step/{step}")
        publish(services)


def publish(services: Services) -> RoutingTable:
    """Bring the routing table up to the ledger."""
    table = RoutingTable({state.spec.name: state.route for state in running(all_states(services))})
    if read_table(services.storage) != table:
        write_table(services.storage, table)
    return table


def _resolved(services: Services, spec: ExperimentSpec) -> tuple[Variant, ...]:
    """The variants with the versions that aliases mean now, and the weights that hold at the start."""
    aliases: dict[str, int] = {}
    if any(isinstance(variant.version, str) for variant in spec.variants):
        aliases = services.registry.aliases(spec.model)
    found = []
    for variant in spec.variants:
        if isinstance(variant.version, str):
            if variant.version not in aliases:
                raise RegistryError(
                    f"{spec.name}: {spec.model} has no {variant.version} for the variant {variant.name}.",
                    hint=f"Give a version number, or make one: mlops run all {spec.model}",
                )
            version = aliases[variant.version]
        else:
            version = services.registry.get(spec.model, variant.version).version
        found.append(Variant(variant.name, version, variant.weight))
    versions = [variant.version for variant in found]
    if len(set(versions)) != len(versions):
        told = ", ".join(f"{variant.name} is version {variant.version}" for variant in found)
        raise RegistryError(f"{spec.name} would compare a version with itself: {told}.", hint="Name another version.")
    if spec.kind == "canary":
        share = spec.canary.steps[0]
        return (Variant(found[0].name, versions[0], 1 - share), Variant(found[1].name, versions[1], share))
    return tuple(found)


@contextmanager
def _exclusive(services: Services) -> Iterator[None]:
    """One change of experiments at a time, over all models: what may run together depends on all of them."""
    holder, supersedes = str(services.attempt), services.attempt.supersedes
    with services.leases.hold("experiments", holder, LEASE_SECONDS, wait_seconds=WAIT_SECONDS, supersedes=supersedes):
        yield


def _append(services: Services, kind: str, model: str, body: dict[str, Any], key: str) -> None:
    services.ledger.append(kind, model, body, actor=services.actor, at=services.clock(), key=key)
