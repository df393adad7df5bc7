"""Sources: what was delivered for a date, from Parquet or CSV files by URI or from SQL, with timestamps in UTC.

With `{date}` in its URI a source has files per delivery. Without, it is one growing table, and the delivery of a date
is the rows that became known on it; a row that does not say when belongs to none. SQL is asked for them.

One rule: None means that nothing was delivered; whatever is there is returned or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlops.data import files, sql
from mlops.data.timezones import to_utc, zone_of
from mlops.errors import SchemaError, SourceError, did_you_mean
from mlops.spec import SourceSpec, TimestampsSpec

_PASS = timedelta(hours=4)  # longer than any hour that clocks repeat, so that both of its passes are read


def read_delivery(source: SourceSpec, *, entity: str, timestamps: TimestampsSpec, day: date) -> pd.DataFrame | None:
    """What was delivered for `day`.

    Args:
        source: where deliveries come from.
        entity: column of the entity.
        timestamps: columns of event and arrival.
        day: date of the delivery, UTC.

    Returns:
        All columns as delivered, in the order of the source, those with times as `datetime64[us, UTC]`; None if nothing
        was delivered. A file without rows gives an empty frame. A file of a date may lack columns: that is for the
        contract to say.

    Raises:
        SourceError: the source cannot be read.
        SchemaError: a time has no zone, is no time or does not exist; or a growing table lacks its time column.
        MissingDependencyError: the client for this kind of URI or database is not installed.
    """
    if source.kind != "sql" and files.is_dated(source.uri):
        found = files.find(source, files.dated(source.uri, day))
        return _in_utc(files.read(source, found, entity), source, entity, timestamps) if found else None
    frame = _between(source, entity, timestamps, _midnight(day), _midnight(day) + timedelta(days=1))
    return frame if len(frame) else None


def read_known(
    source: SourceSpec, *, entity: str, timestamps: TimestampsSpec, first: date, last: date
) -> list[tuple[date | None, pd.DataFrame]]:
    """The deliveries from `first` to `last`, both included, each with its date.

    A growing table or SQL is read once, for the whole stretch; its rows alone say when they became known: date None.

    Raises:
        SourceError, SchemaError, MissingDependencyError: as `read_delivery`.
    """
    if source.kind != "sql" and files.is_dated(source.uri):
        days = (first + timedelta(days=i) for i in range((last - first).days + 1))
        read = ((day, read_delivery(source, entity=entity, timestamps=timestamps, day=day)) for day in days)
        return [(day, frame) for day, frame in read if frame is not None]
    frame = _between(source, entity, timestamps, _midnight(first), _midnight(last) + timedelta(days=1))
    return [(None, frame)] if len(frame) else []


def _between(
    source: SourceSpec, entity: str, timestamps: TimestampsSpec, start: datetime, end: datetime
) -> pd.DataFrame:
    """Rows of a growing table or of SQL that became known in [start, end)."""
    if source.kind == "sql":
        return _in_utc(sql.query(source, start, end), source, entity, timestamps)
    found = files.find(source, source.uri)
    if found is None:
        raise SourceError(
            f"{files.shown(source.uri)} matches no file.",
            hint="Correct source.uri; write {date} in it if each date has a file of its own.",
        )
    known_at = timestamps.arrival or timestamps.event
    frame = files.read(source, found, entity, _filter(known_at, source.timezone, start, end))
    if known_at not in frame.columns:
        raise SchemaError(
            f"{files.shown(source.uri)} has no column {known_at!r}, which says when a row became known.",
            hint=did_you_mean(known_at, map(str, frame.columns)),
        )
    frame = _in_utc(frame, source, entity, timestamps)
    within = (frame[known_at] >= start) & (frame[known_at] < end)
    return frame[within].reset_index(drop=True)


def _filter(column: str, zone: str | None, start: datetime, end: datetime) -> Callable[[pa.Schema], Any]:
    """A filter that leaves out row groups of other days; what it lets through is still looked at row by row."""

    def rows(schema: pa.Schema) -> Any:
        index = schema.get_field_index(column)
        kind = schema.field(index).type if index >= 0 else None
        if kind is None or not pa.types.is_timestamp(kind) or (kind.tz is None and zone is None):
            return None
        low, high = start, end
        if kind.tz is None and zone is not None:
            low = (start - _PASS).astimezone(zone_of(zone)).replace(tzinfo=None)
            high = (end + _PASS).astimezone(zone_of(zone)).replace(tzinfo=None)
        return (pc.field(column) >= pa.scalar(low, type=kind)) & (pc.field(column) < pa.scalar(high, type=kind))

    return rows


def _in_utc(frame: pd.DataFrame, source: SourceSpec, entity: str, timestamps: TimestampsSpec) -> pd.DataFrame:
    """The frame with its timestamps, and whatever else is of a time's type, as instants in UTC."""
    per = frame[entity] if entity in frame.columns else None
    changed: dict[str, pd.Series] = {}
    for name in frame.columns:
        if name == timestamps.event:
            changed[name] = to_utc(frame[name], source.timezone, per=per)
        elif name == timestamps.arrival or _is_time(frame[name], source.timezone):
            changed[name] = to_utc(frame[name], source.timezone, repeated="later")
    return frame.assign(**changed)


def _is_time(values: pd.Series, zone: str | None) -> bool:
    """Whether a column that the spec does not name holds times that can be placed."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return True
    return zone is not None and pd.api.types.is_datetime64_dtype(values.dtype)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
