"""Features of a stream: readings as they come become features in the online store.

Reads: readings, one JSON object a line, and the validated deliveries of the last look-back, from which windows are
filled before the first line. Writes: the online store. Offline features are those of the nights; one code makes both.

One rule: a line that cannot be a reading is counted and told; it does not stop the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import pandas as pd

from mlops import log
from mlops.data import partitions
from mlops.errors import FeatureError, SchemaError
from mlops.features.engineering import CREATED, EVENT
from mlops.features.online.pushing import CLOCKS_DIFFER
from mlops.features.store import ViewInfo
from mlops.features.stream import FeatureStream
from mlops.services import Services
from mlops.spec import ModelSpec

_LOG = log.get(__name__)


@dataclass(slots=True)
class Streamed:
    """What became of the lines so far."""

    lines: int = 0
    pushed: int = 0  # readings of an entity that the online store has taken, over all views
    too_late: int = 0  # older than the contract's lateness allows, over all views
    refused: int = 0  # no readings


def follow(services: Services, spec: ModelSpec, lines: Iterable[str], *, at_once: int = 1) -> Iterator[Streamed]:
    """Push the features of each reading into the online store.

    Args:
        services: the adapters.
        spec: the model; the views of its feature service that are made of its data set are filled.
        lines: JSON objects with the columns of the data set; times in ISO 8601 with their zone. A reading without
            arrival became known when it was read.
        at_once: readings computed and pushed together; more take less time each, and wait for one another.

    Yields:
        the counts so far, after each push.

    Raises:
        FeatureError: no view is made of the model's data set, or the online store does not answer.
    """
    services.features.apply()
    streams = _streams(services, spec)
    done = Streamed()
    rest = iter(lines)
    while part := list(islice(rest, at_once)):
        rows = [row for line in part if (row := _reading(services, spec, line, done)) is not None]
        for view, stream in streams.items():
            made = [found for row in rows if (found := _made(stream, row, done)) is not None]
            if made:
                newest = pd.concat(made, ignore_index=True).drop_duplicates([spec.entity, EVENT, CREATED], keep="last")
                done.pushed += services.features.push(view, newest, now=services.clock())
        done.too_late = sum(stream.too_late for stream in streams.values())
        yield done


def _streams(services: Services, spec: ModelSpec) -> dict[str, FeatureStream]:
    """A stream per view, which remembers the readings of the last look-back."""
    views = [v for v in services.features.views_of(spec.features.service) if v.recipe and v.dataset == spec.dataset]
    if not views:
        raise FeatureError(
            f"No view of feature service {spec.features.service!r} is made of data set {spec.dataset!r}.",
            hint="Declare one with `telemetry_view(dataset=…, recipe=…)`.",
        )
    return {view.name: _stream(services, spec, view) for view in views}


def _stream(services: Services, spec: ModelSpec, view: ViewInfo) -> FeatureStream:
    assert view.recipe is not None
    lateness = timedelta(hours=spec.contract.max_lateness_hours if spec.timestamps.arrival else 0)
    stream = FeatureStream(view.recipe, spec.entity, spec.timestamps.event, spec.known_at, lateness)
    days = partitions.delivered_days(services.storage, spec.dataset)
    if days:
        first = days[-1] - (view.recipe.lookback + lateness)
        known = partitions.read_rows(services.storage, spec.dataset, first, days[-1])
        stream.remember(known.sort_values(spec.known_at, kind="stable"))
    return stream


def _reading(services: Services, spec: ModelSpec, line: str, done: Streamed) -> dict[str, Any] | None:
    """A line as a row; None for one that is none, which is told."""
    done.lines += 1
    try:
        return _row(spec, line, services.clock())
    except (ValueError, TypeError) as error:
        _refuse(done, str(error))
        return None


def _row(spec: ModelSpec, line: str, now: datetime) -> dict[str, Any]:
    """A line as a row, its times in UTC; raises `ValueError` or `TypeError` in words if it is none."""
    row = json.loads(line)
    if not isinstance(row, dict):
        raise TypeError("it is no JSON object")
    if row.get(spec.entity) is None:
        raise ValueError(f"it has no {spec.entity!r}")
    if spec.known_at != spec.timestamps.event:
        row.setdefault(spec.known_at, now.isoformat())
    for column in {spec.timestamps.event, spec.known_at}:
        moment = pd.Timestamp(row.get(column) or "NaT")
        if pd.isna(moment) or moment.tzinfo is None:
            raise ValueError(f"its {column!r} is no time with a zone")
        if moment > now + CLOCKS_DIFFER:
            raise ValueError(f"its {column!r}, {moment}, lies in the future")
        row[column] = moment.tz_convert("UTC").as_unit("us")
    return row


def _made(stream: FeatureStream, row: dict[str, Any], done: Streamed) -> pd.DataFrame | None:
    """The features of a reading; None for one that can have none, which is told, or is too late."""
    try:
        made = stream.update(pd.DataFrame([row]))
    except SchemaError as error:
        _refuse(done, str(error))
        return None
    return made if len(made) else None


def _refuse(done: Streamed, why: str) -> None:
    done.refused += 1
    _LOG.warning("refused %s", log.facts(line=done.lines, why=why))
