"""A/B analysis: the night's look at every experiment of a model, and what follows from it.

A/B tests are looked at by their boundaries; canaries hold, grow, end or are taken back; bandits learn.

Reads: outcomes up to the night, the looks made before. Writes: one ledger entry a look, the record and its page, the
end of an experiment that is decided, and, where its policy says so, the promotion of the winner by the normal
transaction with all its checks.

A look is made once: its entry is found again by `<model>/experiment/<name>/<number>/look/<date>`, so that a retry
repeats what follows from it and never looks again. Outcomes that are corrected later count from the next look on.

One rule: looks go forward in time. A night before the last look is not looked at any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Literal

from mlops.pipelines import ab_bandit, ab_canary, ab_outcomes, ab_page, experiments, promotion
from mlops.pipelines.ab_judging import judge
from mlops.pipelines.ab_records import ExperimentLook, ExperimentNight
from mlops.pipelines.experiment_state import LOOK, ExperimentState, running
from mlops.pipelines.incidents import tell
from mlops.pipelines.judged import day_of
from mlops.pipelines.night import report, report_uri
from mlops.records import Incident, Outcome, StepReport, to_dict
from mlops.services import Services
from mlops.serving.routing_canary import StepCounts, decide
from mlops.spec import ModelSpec

STEP = "ab_analysis"
Decision = Literal["continue", "winner", "no_difference", "invalid", "cannot_tell"]


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Look at the experiments of a model.

    Returns:
        done (looked, whatever was seen), no (an experiment is invalid), cannot_tell (too little of all of them), or
        nothing_to_do (none runs); the record is an `ExperimentNight`.

    Raises:
        SchemaError, SourceError: outcomes cannot be read.
        LeaseError: a promotion or another experiment's start is under way.
    """
    concerned = [state for state in experiments.all_states(services, spec.name) if _concerns(state, day)]
    experiments.publish(services)
    if not concerned:
        return report(STEP, spec, day, "nothing_to_do", f"No experiment of {spec.name} is to be looked at on {day}.")
    night = ExperimentNight(spec.name, day, ())
    for state in concerned:
        night = _KINDS[state.spec.kind](services, spec, state, night)
    words = " ".join(f"{look.experiment}: {look.reason}" for look in night.looks)
    return report(STEP, spec, day, _outcome(night), words, night)


def watch(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Take back the canaries of a model whose outcomes so far say that they harm. It may be asked whenever one likes.

    Args:
        services: the adapters.
        spec: the model.
        day: the day that is under way; nothing else is decided before it is over.

    Returns:
        no (one was taken back), done (none harms), or nothing_to_do (no canary runs); the record is an
        `ExperimentNight`.

    Raises:
        SchemaError, SourceError: outcomes cannot be read.
    """
    at_work = running(experiments.all_states(services, spec.name))
    canaries = [state for state in at_work if state.spec.kind == "canary" and day >= state.steps_from[-1]]
    night, taken_back = ExperimentNight(spec.name, day, ()), False
    for state in canaries:
        steps = ab_canary.counts(services, spec, state, day)
        decision = decide(state.spec.canary, steps)
        found = _words(state, night, "continue", decision.reason, units=_units(state, steps))
        if decision.action == "rollback":
            found = _taken_back(services, spec, state, found)
            taken_back = True
        night = _with(night, found)
    if not canaries:
        return report(STEP, spec, day, "nothing_to_do", f"No canary of {spec.name} runs on {day}.")
    words = " ".join(f"{found.experiment}: {found.reason}" for found in night.looks)
    return report(STEP, spec, day, "no" if taken_back else "done", words, night)


def _concerns(state: ExperimentState, day: date) -> bool:
    """Whether a night has something to say about it: it runs, or its end came by this night's look."""
    if state.spec.kind not in _KINDS or day < state.started_on:
        return False
    return state.status == "running" or any(look.date == day for look in state.looks)


def _outcome(night: ExperimentNight) -> Outcome:
    decisions = {look.decision for look in night.looks}
    if "invalid" in decisions:
        return "no"
    return "cannot_tell" if decisions == {"cannot_tell"} else "done"


def _test(services: Services, spec: ModelSpec, state: ExperimentState, night: ExperimentNight) -> ExperimentNight:
    """A night of an A/B test."""
    found = _look(services, spec, state, night.date)
    return _follow(services, spec, state, found, dataclasses.replace(night, looks=(*night.looks, found)))


def _canary(services: Services, spec: ModelSpec, state: ExperimentState, night: ExperimentNight) -> ExperimentNight:
    """A night of a canary: it holds, grows, ends, or is taken back."""
    if night.date < state.steps_from[-1]:
        words = f"Step {state.step + 1} begins on {state.steps_from[-1]}: the night was decided."
        return _with(night, _words(state, night, "continue", words))
    steps = ab_canary.counts(services, spec, state, night.date)
    decision = decide(state.spec.canary, steps)
    units = _units(state, steps)
    if decision.action in ("hold", "advance"):
        experiments.observe(services, state.spec.name, steps, day=night.date)
        verdict: Literal["continue", "cannot_tell"] = "continue" if sum(units.values()) else "cannot_tell"
        return _with(night, _words(state, night, verdict, decision.reason, units=units))
    if decision.action == "rollback":
        found = _words(state, night, "winner", decision.reason, units=units)
        return _with(night, _taken_back(services, spec, state, found))
    winner = state.variants[1]
    found = _words(state, night, "winner", decision.reason, units=units, winner=winner.name, version=winner.version)
    told = ""
    if state.spec.decision.on_win == "promote":
        night, told = _promoted(services, spec, found, night)
    experiments.stop(services, state, reason=f"{decision.reason} {told}".strip(), winner=winner.name)
    return _with(night, found)


def _units(state: ExperimentState, steps: Sequence[StepCounts]) -> dict[str, int]:
    return {variant.name: sum(step.units[i] for step in steps) for i, variant in enumerate(state.variants)}


def _taken_back(services: Services, spec: ModelSpec, state: ExperimentState, found: ExperimentLook) -> ExperimentLook:
    """End a canary that harms, and tell of it: first, so that a kill in between tells twice rather than never."""
    control = state.variants[0]
    found = dataclasses.replace(found, decision="winner", winner=control.name, version=control.version)
    try:
        _tell(services, spec, state, found)
    finally:  # units are given back even where nobody can be told
        experiments.stop(services, state, reason=found.reason, winner=control.name)
    return found


def _bandit(services: Services, spec: ModelSpec, state: ExperimentState, night: ExperimentNight) -> ExperimentNight:
    """A night of a bandit: rewards are counted, and the arms' shares follow."""
    if night.date < state.steps_from[-1]:
        words = f"It has learned for {state.steps_from[-1]} already."
        return _with(night, _words(state, night, "continue", words))
    new, known = ab_bandit.learn(services, spec, state, night.date)
    if new == 0:
        return _with(night, _words(state, night, "cannot_tell", "No reward came in."))
    shares = ab_bandit.shares(ab_bandit.policy_of(state), known)
    told = ", ".join(f"{name} {100 * share:.3g} %" for name, share in shares.items())
    words = f"{new:,} rewards came in, {known.rewards:,} in all: {told}."
    since = night.date + timedelta(days=1)
    experiments.reweigh(services, state, state.step + 1, shares, since=since, reason=words)
    return _with(night, _words(state, night, "continue", words))


_KINDS = {"ab": _test, "canary": _canary, "bandit": _bandit}


def _words(
    state: ExperimentState, night: ExperimentNight, decision: Decision, reason: str, **more: Any
) -> ExperimentLook:
    """A night without a statistical look."""
    spec = state.spec
    return ExperimentLook(
        spec.name, spec.model, night.date, 0, decision, reason, control=state.variants[0].name, **more
    )


def _with(night: ExperimentNight, found: ExperimentLook) -> ExperimentNight:
    return dataclasses.replace(night, looks=(*night.looks, found))


def _look(services: Services, spec: ModelSpec, state: ExperimentState, day: date) -> ExperimentLook:
    """The look of the night: the one that was made, or a new one."""
    made = next((look for look in state.looks if look.date == day), None)
    if made is not None:
        return made
    last = ab_outcomes.last_look(state)
    if last is not None and day < last.date:
        words = f"{last.date} was looked at already; an earlier night is not looked at afterwards."
        return ExperimentLook(state.spec.name, spec.name, day, 0, "cannot_tell", words, control=state.variants[0].name)
    found = judge(state, ab_outcomes.read(services, spec, state, day), day)
    page = report_uri(services, spec, day, f"ab-{state.spec.name}-{state.number}.html")  # it may be started twice a day
    found = dataclasses.replace(found, report_uri=page)
    if found.number:
        body = {"experiment": state.spec.name, "number": state.number, "look": to_dict(found), "reason": found.reason}
        key = f"{state.key}/look/{day.isoformat()}"
        services.ledger.append(LOOK, spec.name, body, actor="policy:ab", at=services.clock(), key=key)
    return found


def _follow(
    services: Services, spec: ModelSpec, state: ExperimentState, found: ExperimentLook, night: ExperimentNight
) -> ExperimentNight:
    """The page, the promotion of a winner, the end, and an incident where it is invalid; all of it may be repeated."""
    if found.number == 0 and not found.report_uri:
        return night
    looks = [look for look in state.looks if look.date < found.date]
    services.storage.write_bytes(found.report_uri, ab_page.page(state, [*looks, found]))
    services.storage.write_json(found.report_uri.replace(".html", ".json"), to_dict(found))
    if found.decision in ("continue", "cannot_tell"):
        return night
    told = ""
    if found.decision == "winner" and found.winner != found.control and state.spec.decision.on_win == "promote":
        night, told = _promoted(services, spec, found, night)
    if found.decision == "invalid":
        _tell(services, spec, state, found)
    experiments.stop(services, state, reason=f"{found.reason} {told}".strip(), winner=found.winner)
    return night


def _promoted(
    services: Services, spec: ModelSpec, found: ExperimentLook, night: ExperimentNight
) -> tuple[ExperimentNight, str]:
    """The winner through the normal promotion; what that says, if it does not promote."""
    answer = promotion.run(services, spec, day_of(services, spec, found.version), found.version)
    if answer.outcome != "done":
        return night, f"It was not promoted: {answer.reason}"
    return dataclasses.replace(night, promoted=True, version=found.version), f"Promoted: {answer.reason}"


def _tell(services: Services, spec: ModelSpec, state: ExperimentState, found: ExperimentLook) -> None:
    tell(
        services,
        spec,
        Incident(
            key=f"{spec.name}/experiment_{state.spec.name}",
            model=spec.name,
            kind=f"experiment_{state.spec.name}",
            date=found.date,
            urgency="normal",
            summary=f"{spec.name} {found.date}: {state.spec.kind} {state.spec.name} was stopped. {found.reason}",
            consequence="The champion answers all units again.",
            action=f"Find out what harmed, lost or moved units, then start it anew: mlops ab status {state.spec.name}.",
            evidence_uri=found.report_uri,
        ),
    )
