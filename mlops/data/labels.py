"""Labels and when they count: a label exists from the moment it became known, and counts once it has matured.

One rule: nothing that arrived after `as_of` is ever seen, so a night run again years later sees the same labels.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd

from mlops.data.sources import read_known
from mlops.data.timezones import to_utc
from mlops.errors import SchemaError, did_you_mean
from mlops.spec import LabelSpec, TimestampsSpec

WEAK = "alarm"  # source of labels that never outrank others
_INSTANT = pd.DatetimeTZDtype("us", "UTC")


def mature_labels(
    label: LabelSpec,
    frame_source: Callable[[date, date], pd.DataFrame],
    *,
    entity: str,
    timestamps: TimestampsSpec,
    start: datetime,
    end: datetime,
    as_of: datetime,
    stored: Callable[[datetime, datetime], pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """The labels of events in [start, end) that are known and mature at `as_of`.

    A label comes from its own source, or from the data; and from people, where the spec says so. With a horizon it is
    the value of the column exactly that much later, and belongs to the event before; people say which event they mean.
    Of several for one event, the latest that had arrived counts, but what is said of an alarm only where nobody else
    says anything; one that was taken back (null) is no label.

    Args:
        label: what the label is and when it counts.
        frame_source: gives the validated rows delivered from a date to a date, both included; asked only when the label
            is a column of the data, or a share of its events must be labelled.
        entity: column of the entity.
        timestamps: columns of event and arrival of the data; labels of their own source carry the same event column.
        start: first event, aware.
        end: end of the events, not included, aware.
        as_of: what had arrived by then is known, aware. A delivery whose date begins with `as_of` is not read.
        stored: gives what people had said by `as_of` about events in [start, end), as `LabelStore.known` does.

    Returns:
        Entity, `observed_at` (time of the event) and `label` (numbers as float64), one row per event, sorted; with a
        store, also `label_source` (`delivered` or the store's).

    Raises:
        SchemaError: a column is missing, or a time has no zone.
        SourceError: the label's source cannot be read.
    """
    horizon = timedelta(hours=label.horizon_hours)
    ripe = as_of - timedelta(days=label.maturity_days) - horizon
    if start > ripe or start >= end:
        return _table(label, entity, _none(entity))
    low, high = (_whole_days(start, end)) if label.maturity_share else (start, end)
    rows = _delivered(label, frame_source, entity, timestamps, low + horizon, as_of)
    rows = rows.assign(observed_at=rows["happened_at"] - horizon, label_source="delivered")
    if stored is not None and label.store:
        rows = _with_stored(rows, stored(low, high), entity)
    observed = rows["observed_at"]
    counts = (observed >= low) & (observed < high) & (observed <= ripe) & (rows["arrived_at"] <= as_of)
    known = _latest(rows[counts], entity)
    if label.maturity_share:
        known = _of_full_days(label, frame_source, known, entity, timestamps, (low, high), as_of)
        known = known[(known["observed_at"] >= start) & (known["observed_at"] < end)]
    return _table(label, entity, known.sort_values([entity, "observed_at"]))


def _latest(rows: pd.DataFrame, entity: str) -> pd.DataFrame:
    """One row per event: the latest of those that are not about an alarm, else the latest; none where taken back."""
    ordered = rows.sort_values("arrived_at", kind="stable")
    weak = ordered["label_source"] == WEAK
    parts = [
        part.drop_duplicates([entity, "observed_at"], keep="last").dropna(subset=["label"])
        for part in (ordered[~weak], ordered[weak])
    ]
    both: pd.DataFrame = pd.concat([part for part in parts if len(part)] or parts[:1])
    latest: pd.DataFrame = both.drop_duplicates([entity, "observed_at"], keep="first")
    return latest


def _with_stored(rows: pd.DataFrame, said: pd.DataFrame, entity: str) -> pd.DataFrame:
    """Delivered labels and those of people, entities written alike."""
    if said.empty:
        return rows
    named = said.rename(columns={"entity": entity, "source": "label_source"})
    named = keyed_like(named.assign(observed_at=named["happened_at"]), rows, entity)
    return pd.concat([rows, named], ignore_index=True) if len(rows) else named


def _of_full_days(
    label: LabelSpec,
    frame_source: Callable[[date, date], pd.DataFrame],
    known: pd.DataFrame,
    entity: str,
    timestamps: TimestampsSpec,
    window: tuple[datetime, datetime],
    as_of: datetime,
) -> pd.DataFrame:
    """The labels of those dates of whose events a sufficient share is labelled; without events it is not."""
    last = (as_of - timedelta(microseconds=1)).astimezone(UTC).date()
    first = window[0].date()
    rows = frame_source(first, last) if first <= last else pd.DataFrame()
    if rows.empty or known.empty:
        return known.iloc[:0]
    events = rows[[entity, timestamps.event]].drop_duplicates()
    events.columns = pd.Index([entity, "observed_at"])
    matched = events.merge(keyed_like(known, events, entity)[[entity, "observed_at"]], on=[entity, "observed_at"])
    of_day, labelled = (part["observed_at"].dt.date.value_counts() for part in (events, matched))
    share = (labelled / of_day).dropna()
    full = set(share.index[share >= label.maturity_share - 1e-12])
    kept: pd.DataFrame = known[known["observed_at"].dt.date.isin(full)]
    return kept


def _whole_days(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The dates (UTC) that [start, end) touches, whole."""
    first, last = (moment.astimezone(UTC).date() for moment in (start, end - timedelta(microseconds=1)))
    return datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC) + timedelta(days=1)


def _delivered(
    label: LabelSpec,
    frame_source: Callable[[date, date], pd.DataFrame],
    entity: str,
    timestamps: TimestampsSpec,
    start: datetime,
    as_of: datetime,
) -> pd.DataFrame:
    first, last = start.astimezone(UTC).date(), (as_of - timedelta(microseconds=1)).astimezone(UTC).date()
    if not label.column or last < first:
        return _none(entity)
    return _rows(label, frame_source, entity, timestamps, first, last)


def keyed_like(known: pd.DataFrame, rows: pd.DataFrame, entity: str) -> pd.DataFrame:
    """Labels whose entities are written as those of the data are, so that the two can be merged.

    A CSV file gives keys as text and a table as whole numbers; `17` and 17 are the same device, `017` is not.

    Args:
        known: labels, as `mature_labels` gives them.
        rows: what they are for.
        entity: column of the entity in both.

    Raises:
        SchemaError: the labels' entities cannot be written so, or none of them is in the data once they are.
    """
    if known.empty or rows.empty or _is_text(known[entity]) == _is_text(rows[entity]):
        return known
    given = known[entity]
    try:
        keys = _whole(given).astype(str) if _is_text(rows[entity]) else _whole(given)
    except ValueError as error:
        raise SchemaError(
            f"Labels name {entity} {str(error)!r}, the data has keys such as {_example(rows[entity])!r}.",
            hint="Deliver the labels with the keys of the data.",
        ) from None
    if not keys.isin(rows[entity].unique()).any():
        raise SchemaError(
            f"No label is about an entity of the data: labels name {entity} {_example(given)!r} ({given.dtype}), "
            f"the data {_example(rows[entity])!r}.",
            hint="Deliver the labels with the keys of the data, in the same type.",
        )
    return known.assign(**{entity: keys.to_numpy()})


def _example(values: pd.Series) -> object:
    return values.iloc[:1].tolist()[0]


def _is_text(values: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(values.dtype)


def _whole(values: pd.Series) -> pd.Series:
    """Keys as whole numbers; the first that is none, or is not written as one, is the error's message."""
    if not _is_text(values):
        if len(odd := values[values != values.round()]):
            raise ValueError(odd.iloc[0])
        return values.astype(np.int64)
    numbers = pd.to_numeric(values, errors="coerce")
    written = numbers.fillna(0).astype(np.int64).astype(str)
    if len(odd := values[numbers.isna() | (written != values.astype(str))]):
        raise ValueError(odd.iloc[0])
    return numbers.astype(np.int64)


def _rows(
    label: LabelSpec,
    frame_source: Callable[[date, date], pd.DataFrame],
    entity: str,
    timestamps: TimestampsSpec,
    first: date,
    last: date,
) -> pd.DataFrame:
    """Entity, happened_at, arrived_at, label of all that was delivered from `first` to `last`."""
    if label.source is None:
        frame = frame_source(first, last)
        arrival = label.arrival or timestamps.arrival or timestamps.event
        parts = [_plain(frame, label.column, entity, timestamps.event, arrival, None)] if len(frame) else []
    else:
        times = TimestampsSpec(event=timestamps.event, arrival=label.arrival)
        deliveries = read_known(label.source, entity=entity, timestamps=times, first=first, last=last)
        parts = [
            _plain(frame, label.column, entity, timestamps.event, label.arrival, day)
            for day, frame in deliveries
            if len(frame)
        ]
    return pd.concat(parts, ignore_index=True) if parts else _none(entity)


def _plain(
    frame: pd.DataFrame, column: str, entity: str, event: str, arrival: str | None, delivered: date | None
) -> pd.DataFrame:
    """The four columns.

    Without an arrival column a label is known by the end of its delivery's day, or, if there are no deliveries by day,
    from the moment it describes.
    """
    for name in (entity, event, column, arrival):
        if name is not None and name not in frame.columns:
            raise SchemaError(
                f"Labels have no column {name!r}.",
                hint=did_you_mean(name, map(str, frame.columns)) + " Correct the model's `label`.",
            )
    happened = to_utc(frame[event], None)
    if arrival is not None:
        arrived = to_utc(frame[arrival], None)
    elif delivered is None:
        arrived = happened
    else:
        end_of_day = pd.Timestamp(datetime.combine(delivered, time(), UTC) + timedelta(days=1))
        arrived = happened.where(happened > end_of_day, end_of_day)
    return pd.DataFrame(
        {entity: frame[entity], "happened_at": happened, "arrived_at": arrived, "label": frame[column].astype(object)}
    )


def _none(entity: str) -> pd.DataFrame:
    """No labels, with all columns."""
    times = {name: pd.Series(dtype=_INSTANT) for name in ("happened_at", "arrived_at", "observed_at")}
    text = {name: pd.Series(dtype=object) for name in (entity, "label", "label_source")}
    return pd.DataFrame(times | text)


def _table(label: LabelSpec, entity: str, known: pd.DataFrame) -> pd.DataFrame:
    values = known["label"].infer_objects()
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype) or not len(values):
        values = values.astype(np.float64)
    observed = known["observed_at"].astype(_INSTANT)
    table = pd.DataFrame({entity: known[entity], "observed_at": observed, "label": values})
    table = table.assign(label_source=known["label_source"]) if label.store else table
    return table.reset_index(drop=True)
