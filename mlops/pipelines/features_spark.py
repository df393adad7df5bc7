"""The features of a date on Spark: what `features` does where one machine is too small.

One rule: nothing but numbers and names comes back to this process.
"""

from __future__ import annotations

from datetime import date, datetime

from mlops.data.partitions_spark import read_rows_on_spark
from mlops.features.batches_spark import write_on_spark
from mlops.features.engineering_spark import engineer_on_spark
from mlops.features.store import ViewInfo
from mlops.services import Services
from mlops.spec import ModelSpec
from mlops.storage import Manifest


def write(
    services: Services, spec: ModelSpec, view: ViewInfo, day: date, *, first: date, since: datetime
) -> tuple[str, Manifest]:
    """Engineer and publish the features of the delivery of `day`.

    Args:
        services: the adapters.
        spec: of the model.
        view: which view; it has a recipe.
        day: date of the delivery.
        first: earliest delivery that they depend on.
        since: only readings known at or after this are published.

    Raises:
        SchemaError, FeatureError: as on one machine.
    """
    assert view.recipe is not None
    history = read_rows_on_spark(services.spark, services.storage, view.dataset, first, day)
    frame = engineer_on_spark(
        history,
        view.recipe,
        entity=spec.entity,
        event=spec.timestamps.event,
        known_at=spec.known_at,
        since=since,
    )
    return write_on_spark(services.features, view.name, day, frame)
