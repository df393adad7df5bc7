"""Ingestion: a delivery is read, held against its contract, and published whole or put in quarantine.

Reads: the source of the spec for one date. Writes: the validated partition of that date, or its quarantine entry and an
incident; the contract's page. Downstream sees validated partitions only. A good re-delivery of a date releases it, and
so do people, see `mlops.pipelines.quarantine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from mlops.data import contracts, delivery_spark, partitions, quarantine
from mlops.data.delivery_spark import SparkRows
from mlops.data.inspection import inspect
from mlops.data.lying import Delivery
from mlops.data.partitions_spark import put_on_spark
from mlops.data.rule import Statistics, Terms
from mlops.pipelines import quarantine as decisions
from mlops.pipelines.incidents import tell
from mlops.pipelines.night import report, report_uri
from mlops.pipelines.publishing import publish
from mlops.records import DataSlice, Incident, StepReport
from mlops.services import Services
from mlops.spec import ModelSpec


def run(services: Services, spec: ModelSpec, day: date, release: str = "", actor: str = "") -> StepReport:
    """Ingest the delivery of `day`.

    Args:
        services: the adapters.
        spec: the model.
        day: date of the delivery.
        release: why the delivery of this date that waits in quarantine may pass. Without any, or where
            nothing waits (any more, on a retry), the date is ingested anew.
        actor: who releases it. Default: the actor of the settings.

    Returns:
        done (validated), nothing_to_do (nothing was delivered) or no (quarantined); the record is a `DataSlice`.

    Raises:
        SourceError, SchemaError: the source cannot be read, or its timestamps mean nothing.
    """
    if release and quarantine.waiting(services.storage, spec.dataset, day):
        return decisions.release(services, spec, day, release, actor)
    terms = Terms(spec.contract, spec.entity, spec.timestamps, day)
    found = _inspect(services, spec, terms)
    if found is None:
        reason = f"Nothing was delivered for {day}."
        return report("ingestion", spec, day, "nothing_to_do", reason, DataSlice(spec.dataset, day, "nothing_to_do"))
    result, delivery = found
    page = report_uri(services, spec, day, "contract.html")
    services.storage.write_bytes(page, result.html.encode())
    if result.passed:
        return _publish(services, spec, day, delivery, page, result)
    return _quarantine(services, spec, day, delivery, result, page)


def _inspect(
    services: Services, spec: ModelSpec, terms: Terms
) -> tuple[contracts.ContractResult, Delivery | SparkRows] | None:
    """On the engine of the settings, if it can read this source; what Spark cannot is looked at here."""
    usual = _usual(services, spec, terms.day)
    if services.config.engine == "spark" and (parts := delivery_spark.find(spec.source, terms)) is not None:
        return delivery_spark.inspect(services.spark, spec.source, parts, terms, *usual)
    return inspect(spec.source, terms, *usual)


def _usual(services: Services, spec: ModelSpec, day: date) -> tuple[Sequence[int], Sequence[Statistics]]:
    """Row counts and statistics of the deliveries before, as far as the contract looks at them."""
    storage, asked = services.storage, spec.contract.distribution
    rows = partitions.usual_rows(storage, spec.dataset, before=day, last=spec.contract.volume_history)
    if asked is None:
        return rows, ()
    return rows, partitions.usual_statistics(storage, spec.dataset, before=day, last=asked.history)


def _publish(
    services: Services,
    spec: ModelSpec,
    day: date,
    delivery: Delivery | SparkRows,
    page: str,
    result: contracts.ContractResult,
) -> StepReport:
    slice_ = publish(services, spec, day, delivery, page, statistics=result.statistics)
    late = f", {slice_.late_rows:,} of them late" if slice_.late_rows else ""
    released = "; the quarantined delivery of this date is released" if slice_.released else ""
    reason = f"{slice_.rows:,} rows of {slice_.entities:,} entities keep their contract{late}{released}."
    return report("ingestion", spec, day, "done", reason, slice_)


def _quarantine(
    services: Services,
    spec: ModelSpec,
    day: date,
    delivery: Delivery | SparkRows,
    result: contracts.ContractResult,
    page: str,
) -> StepReport:
    storage, at = services.storage, services.clock()
    if isinstance(delivery, SparkRows):
        slice_ = put_on_spark(storage, spec.dataset, day, delivery, result, report_uri=page, model=spec.name, at=at)
    else:
        slice_ = quarantine.put(storage, spec.dataset, day, delivery, result, report_uri=page, model=spec.name, at=at)
    if entry := decisions.decided(services, spec, slice_):
        return decisions.again(services, spec, day, delivery, page, entry)
    tell(
        services,
        spec,
        Incident(
            key=f"{spec.name}/quarantine",
            model=spec.name,
            kind="quarantine",
            date=day,
            urgency="normal",
            summary=f"The delivery of {spec.dataset} for {day} broke its contract: {'; '.join(slice_.reasons)}",
            consequence="Nothing downstream sees these rows. The champion stays and goes on serving.",
            action=f"Open {page}. Have the sender deliver the date again, then run ingestion for {day} again; "
            f"or `mlops quarantine release {spec.name} {day}`, or `drop`.",
            evidence_uri=page,
        ),
    )
    return report("ingestion", spec, day, "no", f"Quarantined: {'; '.join(slice_.reasons)}", slice_)
