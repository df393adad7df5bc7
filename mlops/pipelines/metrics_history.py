"""The metrics of nights that are past, for a Prometheus that was not there then.

Reads: the predictions, drift reports and performance of each night, and the ledger. What is kept for the newest night
alone (how steps ended, what waits, incidents) has no past here.

One rule: a night's values are what its own records say; a night without a record has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from mlops import metric_names as names
from mlops.errors import NoDataError
from mlops.governance import champions
from mlops.monitoring.exposition import Sample
from mlops.pipelines import metrics
from mlops.pipelines.inference import batch_of, predictions_uri
from mlops.pipelines.night import as_of, report_uri
from mlops.pipelines.night_performance import NightPerformance
from mlops.records import DriftReport, from_dict
from mlops.services import Services
from mlops.spec import ModelSpec

ONE_DAY = timedelta(days=1)
EVERY = timedelta(minutes=4)  # Prometheus takes a value for gone that is older than five


def history(
    services: Services, start: date, end: date, *, every: timedelta = EVERY
) -> Iterator[tuple[datetime, list[Sample]]]:
    """What the metrics were after each night, from its end to that of the next one.

    Args:
        services: the adapters.
        start: the first night.
        end: the last one.
        every: how far apart its values are repeated.

    Raises:
        NoDataError: the end lies before the start.
    """
    if end < start:
        raise NoDataError(f"There is no night from {start} to {end}.", hint="Mend --from and --to.")
    specs = [spec for _, spec in sorted(services.specs().items())]
    for night in (start + i * ONE_DAY for i in range((end - start).days + 1)):
        found = [sample for spec in specs for sample in _night(services, spec, night)]
        for number in range(ONE_DAY // every):
            yield as_of(night) + number * every, found


def _night(services: Services, spec: ModelSpec, night: date) -> Iterator[Sample]:
    yield Sample(names.MODEL_INFO, 1, (spec.name, spec.owner, spec.task))
    reign = champions.champion_at(champions.reigns(services.ledger.entries(spec.name)), as_of(night) + ONE_DAY / 2)
    if reign is not None:
        yield Sample(names.CHAMPION_VERSION, reign.version, (spec.name,))
        yield Sample(names.CHAMPION_SINCE, reign.from_at.timestamp(), (spec.name,))
    uri = predictions_uri(services, spec, night)
    if (manifest := services.storage.manifest(uri)) is not None:
        table = services.storage.read_table(uri).to_pandas()
        yield from metrics.of_predictions(batch_of(table, spec, night, uri, manifest))
    kept = report_uri(services, spec, night, "drift.json")
    if services.storage.exists(kept):
        yield from metrics.of_drift(from_dict(DriftReport, services.storage.read_json(kept)))
    kept = report_uri(services, spec, night, "performance.json")
    if services.storage.exists(kept):
        yield from metrics.of_estimates(spec.name, from_dict(NightPerformance, services.storage.read_json(kept)))
