"""Where experiments stand: read off the ledger's entries, as reigns of champions are.

    experiment_start ─► experiment_step (a canary grows, a bandit learns) ─► experiment_look … ─► experiment_stop

The start holds the spec and the versions that its aliases meant then, so that neither a changed file nor a new champion
changes an experiment that runs.

One rule: pure functions of entries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from mlops.governance.ledger import Entry
from mlops.pipelines.ab_records import ExperimentLook
from mlops.records import from_dict
from mlops.serving.routing import Route, Variant
from mlops.spec.experiment import ExperimentSpec

START, STEP, LOOK, STOP = "experiment_start", "experiment_step", "experiment_look", "experiment_stop"


@dataclass(frozen=True, slots=True)
class ExperimentState:
    """One run of an experiment, from its start on."""

    spec: ExperimentSpec  # as it was when it started
    number: int  # which start of this name: 1, 2, 3, …
    status: Literal["running", "stopped"]
    variants: tuple[Variant, ...]  # versions and present weights
    started_on: date
    started_at: datetime
    started_by: str
    step: int = 0  # of a canary, or how often a bandit has learned
    steps_from: tuple[date, ...] = ()  # the first date of each step, the start among them
    steps_at: tuple[datetime, ...] = ()  # when each was entered
    looks: tuple[ExperimentLook, ...] = ()
    stopped_at: datetime | None = None
    reason: str = ""  # why it stopped
    winner: str = ""

    @property
    def key(self) -> str:
        """The identity of this run: `<model>/experiment/<name>/<number>`."""
        return key_of(self.spec.model, self.spec.name, self.number)

    @property
    def route(self) -> Route:
        """What routing needs of it."""
        spec = self.spec
        return Route(
            experiment=spec.name,
            model=spec.model,
            kind=spec.kind,
            layer=spec.layer_name,
            start=spec.slice[0],
            end=spec.slice[1],
            salt=f"{spec.name}/{self.number}",
            variants=self.variants,
            overrides=dict(spec.overrides),
        )


def key_of(model: str, name: str, number: int) -> str:
    """The identity of one run of an experiment."""
    return f"{model}/experiment/{name}/{number}"


def states(entries: Iterable[Entry]) -> tuple[ExperimentState, ...]:
    """All runs of all experiments in these entries, in the order in which they started."""
    found: dict[tuple[str, str, int], ExperimentState] = {}
    for entry in entries:
        if entry.kind not in (START, STEP, LOOK, STOP):
            continue
        body = entry.body
        key = (entry.model, str(body["experiment"]), int(body["number"]))
        if entry.kind == START:
            found[key] = _started(entry)
        elif entry.kind == STEP:
            weights = body["weights"]
            variants = tuple(dataclasses.replace(v, weight=float(weights[v.name])) for v in found[key].variants)
            since = (*found[key].steps_from, date.fromisoformat(body["date"]))
            moments = (*found[key].steps_at, entry.at)
            found[key] = dataclasses.replace(
                found[key], variants=variants, step=int(body["step"]), steps_from=since, steps_at=moments
            )
        elif entry.kind == LOOK:
            look = from_dict(ExperimentLook, body["look"])
            found[key] = dataclasses.replace(found[key], looks=(*found[key].looks, look))
        else:
            end = {"stopped_at": entry.at, "reason": str(body["reason"]), "winner": str(body["winner"])}
            found[key] = dataclasses.replace(found[key], status="stopped", **end)  # type: ignore[arg-type]
    return tuple(found.values())


def running(found: Sequence[ExperimentState]) -> tuple[ExperimentState, ...]:
    """Those that have not been stopped."""
    return tuple(state for state in found if state.status == "running")


def _started(entry: Entry) -> ExperimentState:
    body = entry.body
    return ExperimentState(
        spec=ExperimentSpec.model_validate(body["spec"]),
        number=int(body["number"]),
        status="running",
        variants=tuple(from_dict(Variant, variant) for variant in body["variants"]),
        started_on=date.fromisoformat(body["date"]),
        started_at=entry.at,
        started_by=entry.actor,
        steps_from=(date.fromisoformat(body["date"]),),
        steps_at=(entry.at,),
    )
