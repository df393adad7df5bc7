"""What the demo should show, held against what it showed. Every expectation speaks of facts in the summary only.

One rule: an expectation says what should be true and what was found; it never explains a difference away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from demo.plan import CORRUPT_NIGHT, REGIME_NIGHT
from demo.summary import Expectation, Night, Step, Summary
from mlops.data.fleet import CHANNELS
from mlops.records import StepReport

Check = Callable[[Summary], tuple[bool, str]]


def check(summary: Summary, ledger_problems: Sequence[str]) -> tuple[Expectation, ...]:
    """Whether each expectation held, in the order of the nights.

    Args:
        summary: the demo, over.
        ledger_problems: what the ledger says against itself; empty if its chain is whole.
    """
    found = [Expectation(text, *test(summary)) for text, test in _EXPECTATIONS]
    words = "; ".join(ledger_problems) or "The chain is whole."
    return (*found, Expectation("The ledger's chain of hashes is whole.", not ledger_problems, words))


def _no_failure(summary: Summary) -> tuple[bool, str]:
    failed = [
        f"night {n.number} {s.step}: {s.reason}" for n in summary.nights for s in n.steps if s.outcome == "failed"
    ]
    return not failed, "; ".join(failed) or f"{len(summary.steps)} of {len(summary.steps)} DAG runs succeeded."


def _first_champion(summary: Summary) -> tuple[bool, str]:
    changes = [change for change in summary.champions if change.night == 1]
    held = len(changes) == 1 and changes[0].previous is None
    return held, " ".join(change.reason for change in changes) or "Nobody was promoted in night 1."


def _refusal(summary: Summary) -> tuple[bool, str]:
    refused = [
        f"v{step.challenger} in night {night.number}"
        for night in summary.nights
        for step in night.of("validation")
        if step.outcome in ("no", "cannot_tell") and step.champion is not None
    ]
    return bool(refused), f"Not promoted: {', '.join(refused)}." if refused else "Every challenger won."


def _quarantine(summary: Summary) -> tuple[bool, str]:
    night, before = _night(summary, CORRUPT_NIGHT), _night(summary, CORRUPT_NIGHT - 1)
    held = any(step.outcome == "no" for step in night.of("ingestion"))
    stands = night.champion is not None and night.champion == before.champion
    words = "; ".join(step.reason for step in night.of("ingestion"))
    return held and stands, f"{words} Champion before: {before.champion}, after: {night.champion}."


def _release(summary: Summary) -> tuple[bool, str]:
    night, spoilt = _night(summary, CORRUPT_NIGHT + 1), _night(summary, CORRUPT_NIGHT).date
    told = [r for step in night.of("ingestion") for r in step.reports if r.date == spoilt]
    return any(r.record.get("released") for r in told), " ".join(r.reason for r in told) or "It did not come again."


def _false_alarm(summary: Summary) -> tuple[bool, str]:
    early = [f"night {n.number}" for n in summary.nights[: REGIME_NIGHT - 1] if any(_alarms(n))]
    return not early, f"Drift alarm in {', '.join(early)}." if early else "None."


def _one_incident(summary: Summary) -> tuple[bool, str]:
    told = [incident for step in summary.steps for incident in step.incidents if incident.kind == "drift"]
    if not told:
        return False, "No incident tells of drift."
    numbers, moments = {incident.number for incident in told}, {incident.told_at for incident in told}
    reminders = max(incident.reminded for incident in told)
    alerts = len(moments) - reminders
    nights = sorted({date for incident in told for date in incident.dates})
    return (len(numbers), alerts) == (1, 1), (
        f"Incident {', '.join(map(str, sorted(numbers)))} over {len(nights)} nights: "
        f"{alerts} alert{'s' * (alerts != 1)}, {reminders} reminder{'s' * (reminders != 1)}."
    )


def _drift_retrains(summary: Summary) -> tuple[bool, str]:
    after = summary.nights[REGIME_NIGHT - 1 :]
    alarm = next(((night, step) for night in after for step in _alarms(night)), None)
    if alarm is None:
        return False, f"No drift alarm from night {REGIME_NIGHT} on."
    night, step = alarm
    later = [
        *night.steps[night.steps.index(step) + 1 :],
        *(s for n in after if n.number > night.number for s in n.steps),
    ]
    trained = [s for s in later if s.step == "training" and s.trained_because == "drift" and s.outcome == "done"]
    share = max(report.share for report in step.drift)
    return len(trained) == 1, (
        f"Night {night.number}: {share:.0%} of the columns drifted; trainings because of drift since: {len(trained)}."
    )


def _attribution(summary: Summary) -> tuple[bool, str]:
    night = _night(summary, REGIME_NIGHT)
    found = next((report for step in _alarms(night) for report in step.drift if report.verdict == "drift"), None)
    if found is None:
        return False, f"No drift alarm in night {REGIME_NIGHT}."
    channels = {name for name in CHANNELS for column in found.drifted if f"__{name}_" in column or name in column}
    held = found.since == night.date and len(found.entities) >= 0.9 * found.entities_seen > 0 and len(channels) >= 2
    return held and found.degree == "with_consequence", (
        f"Since {found.since}, on {len(found.entities)} of {found.entities_seen} devices, "
        f"in {', '.join(sorted(channels))}; the scores move by {found.consequence or 0.0:.2f} standard deviations."
    )


def _new_champion(summary: Summary) -> tuple[bool, str]:
    changes = [c for c in summary.champions if c.night >= REGIME_NIGHT]
    return bool(changes), "; ".join(f"night {c.night}: {c.reason}" for c in changes) or "The champion did not change."


def _predictions(summary: Summary) -> tuple[bool, str]:
    validated = {r.date for r in _reports(summary, "ingestion") if r.outcome == "done"}
    scored = {r.date for r in _reports(summary, "inference") if r.outcome == "done"}
    missing = sorted(validated - scored)
    return (
        not missing,
        f"Missing: {', '.join(map(str, missing))}." if missing else f"{len(scored)} of {len(validated)}.",
    )


def _quiet_end(summary: Summary) -> tuple[bool, str]:
    last = summary.nights[-1]
    loud = [f"{step.step}: {i.summary}" for step in last.steps for i in step.incidents]
    loud += [f"{step.step}: {step.reason}" for step in _alarms(last)]
    return not loud, "; ".join(loud) or "No incident, no alarm."


_EXPECTATIONS: tuple[tuple[str, Check], ...] = (
    ("Every DAG run succeeds.", _no_failure),
    ("Night 1 makes exactly one champion, the first.", _first_champion),
    ("In some night the challenger does not win, and the champion stays.", _refusal),
    (f"In night {CORRUPT_NIGHT} the corrupt delivery is quarantined, and the champion stands.", _quarantine),
    (f"In night {CORRUPT_NIGHT + 1} a good delivery of that date releases it.", _release),
    (f"There is no drift alarm before night {REGIME_NIGHT}, when the fleet begins to run differently.", _false_alarm),
    ("That night the drift is found, put down to its date, to the devices and to what they measure.", _attribution),
    ("People hear of it by one incident and one alert; after that only reminders come.", _one_incident),
    ("Drift then starts one training, whose reason is drift.", _drift_retrains),
    ("The champion changes once more after that.", _new_champion),
    ("Every validated date has predictions.", _predictions),
    ("The last night is quiet.", _quiet_end),
)


def _night(summary: Summary, number: int) -> Night:
    return next(night for night in summary.nights if night.number == number)


def _alarms(night: Night) -> list[Step]:
    return [s for s in night.of("monitoring") if any(report.verdict == "drift" for report in s.drift)]


def _reports(summary: Summary, step: str) -> list[StepReport]:
    return [report for s in summary.steps if s.step == step for report in s.reports]
