"""Publishing a delivery: its rows become the validated partition of their date, and what was wrong with it is over.

One rule: a delivery that kept its contract and one that people have released go through the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from mlops.data import partitions
from mlops.data.delivery_spark import SparkRows
from mlops.data.lying import Delivery
from mlops.data.partitions_spark import publish_on_spark
from mlops.data.rule import Statistics
from mlops.data.validated import Form
from mlops.records import DataSlice
from mlops.services import Services
from mlops.spec import ModelSpec


def publish(
    services: Services,
    spec: ModelSpec,
    day: date,
    delivery: Delivery | SparkRows,
    page: str,
    waived: Sequence[str] = (),
    statistics: Statistics | None = None,
) -> DataSlice:
    """Publish the delivery of a date, and resolve the incident of its quarantine.

    Args:
        services: the adapters.
        spec: the model.
        day: date of the delivery.
        delivery: its rows.
        page: page of the contract's check.
        waived: the broken rules that people have set aside.
        statistics: of the delivery, for what is usual later.

    Raises:
        SchemaError: a column is missing, or cannot be turned into its type without loss.
        SourceError: on Spark, its files were replaced since they were checked.
    """
    storage, form = services.storage, form_of(spec, day)
    said: Any = {"report_uri": page, "waived": waived, "statistics": statistics}
    if isinstance(delivery, SparkRows):
        slice_ = publish_on_spark(storage, spec.dataset, delivery, form, **said)
    else:
        slice_ = partitions.publish(storage, spec.dataset, delivery, form, **said)
    settle(services, spec, day)
    return slice_


def form_of(spec: ModelSpec, day: date) -> Form:
    """What the rows of a delivery become when they are published."""
    return Form(day, spec.contract, spec.entity, spec.timestamps, label_columns(spec))


def settle(services: Services, spec: ModelSpec, day: date) -> None:
    """The quarantine of a date is over: its incident is resolved."""
    services.alerts.resolve(spec.name, "quarantine", at=services.clock(), day=day, terms=spec.alerts)


def label_columns(spec: ModelSpec) -> tuple[str, ...]:
    """Columns that carry the label inside the data itself, beside those of the contract."""
    if spec.label is None or spec.label.source is not None:
        return ()
    return tuple(c for c in (spec.label.column, spec.label.arrival) if c and c not in spec.contract.columns)
