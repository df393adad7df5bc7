"""Features: the validated delivery of a date becomes feature rows, offline and online.

Reads: the validated partitions of the date and of the look-back before it. Writes: one partition per feature view, and
the newest values in the online store. Running a date again replaces that date. Then the online store is held against
the offline one, and each view against its time to live; what is found wrong is an incident.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta

from mlops.data import partitions
from mlops.features.engineering import engineer
from mlops.features.store import ViewInfo
from mlops.pipelines import feature_checks, features_spark
from mlops.pipelines.night import as_of, report
from mlops.records import FeatureBatch, StepReport
from mlops.services import Services
from mlops.spec import ModelSpec
from mlops.storage import Manifest


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Build, publish and materialise the features of the delivery of `day`.

    Returns:
        done or nothing_to_do (no validated delivery of that date); the record is a `FeatureBatch`.

    Raises:
        FeatureError: the feature service or a column of its views is unknown.
    """
    service = spec.features.service
    if day not in partitions.delivered_days(services.storage, spec.dataset):
        reason = f"There is no validated delivery of {spec.dataset} for {day}."
        return report("features", spec, day, "nothing_to_do", reason, FeatureBatch(service, day))
    store = services.features
    store.apply()
    built = [view for view in store.views_of(service) if view.recipe is not None]
    written = [_write(services, spec, view, day) for view in built]
    online_rows = store.materialize(service, as_of(day - timedelta(days=1)), as_of(day))
    rows = sum(manifest.rows for _, manifest in written)
    gates, checks_uri = feature_checks.of_online_store(services, spec, day)
    batch = FeatureBatch(
        service=service,
        date=day,
        views=tuple(view.name for view in built),
        uris=tuple(uri for uri, _ in written),
        rows=rows,
        content_hash=hashlib.sha256("".join(m.content_hash for _, m in written).encode()).hexdigest(),
        online_rows=online_rows,
        gates=gates,
        checks_uri=checks_uri,
    )
    failed = "".join(f" {gate.name}: {gate.reason}" for gate in gates if gate.verdict == "fail")
    reason = f"{rows:,} feature rows in {len(built)} view(s); {online_rows:,} went to the online store.{failed}"
    return report("features", spec, day, "done", reason, batch)


def _write(services: Services, spec: ModelSpec, view: ViewInfo, day: date) -> tuple[str, Manifest]:
    assert view.recipe is not None
    since = as_of(day - timedelta(days=1))
    first = (since - view.recipe.lookback - _lateness(spec)).date()
    if services.config.engine == "spark":
        return features_spark.write(services, spec, view, day, first=first, since=since)
    history = partitions.read_rows(services.storage, view.dataset, first, day)
    frame = engineer(
        history,
        view.recipe,
        entity=spec.entity,
        event=spec.timestamps.event,
        known_at=spec.known_at,
        since=since,
    )
    return services.features.write_batch(view.name, day, frame)


def _lateness(spec: ModelSpec) -> timedelta:
    return timedelta(hours=spec.contract.max_lateness_hours if spec.timestamps.arrival else 0)
