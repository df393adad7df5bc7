"""Quarantine: people see what waits and why, and release or drop it with a reason.

Reads: deliveries in quarantine, the ledger. Writes: one ledger entry per decision, before anything is moved; then a
released delivery is published as a good one would be, a dropped one deleted. The decision is about these very rows:
should ingestion meet the same delivery again, it is published, or left aside, without asking a second time.

One rule: what could not be placed in time or told apart later is never released whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from mlops.data import partitions, quarantine
from mlops.data.delivery_spark import SparkRows
from mlops.data.finding import Finding
from mlops.data.lying import Delivery
from mlops.data.rule import Terms
from mlops.errors import DataError
from mlops.governance.ledger import Entry
from mlops.pipelines.night import report
from mlops.pipelines.publishing import form_of, publish, settle
from mlops.records import DataSlice, StepReport
from mlops.services import Services
from mlops.spec import ModelSpec

Kind = Literal["quarantine_release", "quarantine_drop"]
RELEASE: Kind = "quarantine_release"
DROP: Kind = "quarantine_drop"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery in quarantine."""

    dataset: str
    date: date
    model: str  # whose contract it breaks; "" where an older version put it there
    since: str  # ISO 8601; "" where an older version put it there
    rows: int
    reasons: tuple[str, ...]  # one sentence per broken rule
    report_uri: str
    findings: tuple[Finding, ...]  # empty where an older version put it there

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The rules that are broken."""
        return tuple(finding for finding in self.findings if finding.verdict == "broken")


def waiting(services: Services, specs: Iterable[ModelSpec]) -> list[Waiting]:
    """What waits of the data sets of these models, by data set and date."""
    storage = services.storage
    datasets = sorted({spec.dataset for spec in specs})
    return [explain(services, name, day) for name in datasets for day in quarantine.waiting_days(storage, name)]


def explain(services: Services, dataset: str, day: date) -> Waiting:
    """The delivery of a date that waits, and what was found.

    Raises:
        NoDataError: none waits; the message names the dates that do.
    """
    model, since, findings = quarantine.found(services.storage, dataset, day)
    slice_ = quarantine.waiting(services.storage, dataset, day)
    assert slice_ is not None
    return Waiting(dataset, day, model, since, slice_.rows, slice_.reasons, slice_.report_uri, findings)


def release(services: Services, spec: ModelSpec, day: date, reason: str, actor: str = "") -> StepReport:
    """Publish a delivery that waits as if it had kept its contract; the ledger says who set what aside.

    Args:
        services: the adapters.
        spec: the model whose contract is set aside.
        day: date of the delivery.
        reason: why; it stands in the ledger.
        actor: who decides. Default: the actor of the settings.

    Returns:
        done; the record is a `DataSlice` whose `reasons` are the rules that were set aside.

    Raises:
        NoDataError: none waits.
        DataError: no reason is given, or the rows cannot be placed in time or told apart.
        SchemaError: a column is missing, or cannot be turned into its type without loss.
    """
    _refuse_without(reason, "released")
    held = explain(services, spec.dataset, day)
    if binding := [finding for finding in held.broken if finding.binding]:
        raise DataError(
            f"The delivery of {spec.dataset} for {day} cannot be released: "
            f"{'; '.join(finding.reason.rstrip('.') for finding in binding)}. Such rows could not be placed in time or "
            "told apart afterwards.",
            hint="Have it delivered again; `mlops quarantine explain` shows the rows.",
        )
    terms = Terms(spec.contract, spec.entity, spec.timestamps, day)
    delivery = quarantine.read(services.storage, spec.dataset, day, terms)
    partitions.publishable(delivery, form_of(spec, day))
    entry = _decide(services, spec, day, RELEASE, reason, actor)
    return _released(services, spec, day, delivery, held.report_uri, entry)


def drop(services: Services, spec: ModelSpec, day: date, reason: str, actor: str = "") -> StepReport:
    """Delete a delivery that waits; arguments and errors as `release`. A validated partition of the date stays."""
    _refuse_without(reason, "dropped")
    held = explain(services, spec.dataset, day)
    entry = _decide(services, spec, day, DROP, reason, actor)
    quarantine.discard(services.storage, spec.dataset, day)
    settle(services, spec, day)
    words = f"The delivery of {spec.dataset} for {day} ({held.rows:,} rows) is dropped by {entry.actor}: {reason}"
    return report("quarantine", spec, day, "done", words, DataSlice(spec.dataset, day, "nothing_to_do"))


def decided(services: Services, spec: ModelSpec, held: DataSlice) -> Entry | None:
    """What was decided on these very rows of this date before, or None."""
    found = [services.ledger.by_key(_key(spec, held.date, held.content_hash, kind)) for kind in (RELEASE, DROP)]
    return max((entry for entry in found if entry), key=lambda entry: entry.seq, default=None)


def again(
    services: Services, spec: ModelSpec, day: date, delivery: Delivery | SparkRows, page: str, entry: Entry
) -> StepReport:
    """What ingestion does when it meets a delivery again that was decided on."""
    if entry.kind == RELEASE:
        return _released(services, spec, day, delivery, page, entry)
    quarantine.discard(services.storage, spec.dataset, day)
    words = f"This delivery was dropped by {entry.actor} on {entry.at:%Y-%m-%d}: {entry.body['reason']}"
    return report("ingestion", spec, day, "no", words, DataSlice(spec.dataset, day, "nothing_to_do"))


def _released(
    services: Services, spec: ModelSpec, day: date, delivery: Delivery | SparkRows, page: str, entry: Entry
) -> StepReport:
    waived = tuple(entry.body["rules"])
    slice_ = publish(services, spec, day, delivery, page, waived)
    words = (
        f"{slice_.rows:,} rows of {slice_.entities:,} entities are released by {entry.actor} although "
        f"{len(waived)} {'rule is' if len(waived) == 1 else 'rules are'} broken: {entry.body['reason']}"
    )
    return report("ingestion", spec, day, "done", words, slice_)


def _decide(
    services: Services,
    spec: ModelSpec,
    day: date,
    kind: Kind,
    reason: str,
    actor: str,
) -> Entry:
    """The ledger entry of a decision: a new one, or the one that an earlier try left."""
    held = quarantine.waiting(services.storage, spec.dataset, day)
    assert held is not None
    key = _key(spec, day, held.content_hash, kind)
    if there := services.ledger.by_key(key):
        return there
    body: dict[str, Any] = {"dataset": spec.dataset, "date": day.isoformat(), "rows": held.rows, "reason": reason}
    body |= {"rules": list(held.reasons), "content_hash": held.content_hash}
    who = actor or services.actor
    return services.ledger.append(kind, spec.name, body, actor=who, at=services.clock(), key=key)


def _key(spec: ModelSpec, day: date, content: str, kind: str) -> str:
    return f"{spec.name}/{kind}/{spec.dataset}/{day.isoformat()}/{content[:32]}"


def _refuse_without(reason: str, what: str) -> None:
    if not reason.strip():
        raise DataError(f"A delivery is {what} for a reason, and none is given.", hint="Say why with --reason.")
