"""Feature tables on their way in and out of Feast: one batch as its view's table, one answer as a frame.

One rule: rows are never lost, doubled or put in another order without an error that counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mlops.errors import FeatureError, did_you_mean
from mlops.features.definitions import CLOCK, ViewInfo
from mlops.features.engineering import CREATED, EVENT

ROW = "__row"
_AHEAD = timedelta(days=1)  # by which a night's own moment, the end of its day, may be ahead of the clock
_KINDS = {"STRING": pa.string(), "INT64": pa.int64()}


def sealed(frame: pd.DataFrame, view: Any) -> pa.Table:
    """A batch of features as the view's table: its columns in order, exact types, times of the readings as integers.

    Args:
        frame: as `engineer` returns it.
        view: the registered `feast.FeatureView`.

    Raises:
        FeatureError: a column is missing, or a reading is there twice.
    """
    entity = view.entity_columns[0]
    fields = [field.name for field in view.features]
    features = [field for field in fields if field not in CLOCK]
    if missing := [c for c in (entity.name, EVENT, CREATED, *features) if c not in frame.columns]:
        raise FeatureError(
            f"The batch for view {view.name!r} lacks {', '.join(missing)}.",
            hint="Run `engineer` with the view's own recipe, and apply the repository after changing it.",
        )
    if twice := int(frame.duplicated([entity.name, EVENT, CREATED]).sum()):
        raise FeatureError(
            f"The batch for view {view.name!r} holds {twice:,} readings twice.",
            hint="One row per entity, event time and known time.",
        )
    times = {column: frame[column].dt.tz_convert("UTC").dt.as_unit("us") for column in (EVENT, CREATED)}
    arrays: dict[str, pa.Array] = {entity.name: _keys(frame[entity.name], entity.dtype.to_value_type().name, view.name)}
    arrays |= {column: pa.array(series, type=pa.timestamp("us", "UTC")) for column, series in times.items()}
    arrays |= {feature: pa.array(frame[feature], type=pa.float64(), from_pandas=True) for feature in features}
    clock = zip(CLOCK, (EVENT, CREATED), strict=True)
    arrays |= {field: pa.array(times[c].astype("int64"), type=pa.int64()) for field, c in clock if field in fields}
    return pa.table(arrays)


def _keys(values: pd.Series, kind: str, view: str) -> pa.Array:
    """The entities as the view declares them; what is text stays text, a number a number."""
    try:
        return pa.array(values, type=_KINDS[kind], from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        other = "INT64" if kind == "STRING" else "STRING"
        example = values.iloc[:1].tolist()[0]
        raise FeatureError(
            f"View {view!r} declares {values.name} as {kind}, the data has {example!r} ({values.dtype}).",
            hint=f"Write Entity(…, value_type=ValueType.{other}), or deliver the keys in the declared type"
            f" (CSV: source.options: {{dtype: {{{values.name}: {'str' if kind == 'STRING' else 'int64'}}}}}).",
        ) from error


def of_day(frame: pd.DataFrame, view: str, day: date) -> None:
    """Refuse readings that cannot be of a delivery: from its future, or known before its day.

    A join looks for a reading among the deliveries up to its time, so one that lies elsewhere would be lost in silence.

    Args:
        frame: as `engineer` returns it.
        view: whose rows they are, for messages.
        day: date of the delivery (UTC).

    Raises:
        FeatureError: says how many, and the first.
    """
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    for wrong, what in (
        (frame[EVENT] >= end, f"happened after {day} (UTC)"),
        (frame[CREATED] >= end, f"became known after {day} (UTC)"),
        (frame[CREATED] < start, f"were known before {day} (UTC)"),
    ):
        if wrong.any():
            first = frame.loc[wrong].iloc[0]
            raise FeatureError(
                f"{int(wrong.sum()):,} of {len(frame):,} readings for view {view!r} {what}, "
                f"the first at {first[EVENT]}, known at {first[CREATED]}.",
                hint="Nothing was written. Write each reading with the delivery of the day on which it became known, "
                "and correct clocks that are ahead.",
            )


def not_ahead(times: pd.Series[pd.Timestamp], now: datetime) -> None:
    """Refuse rows that are asked for in the future: what will be known by then, nobody knows yet.

    Raises:
        FeatureError: says how many, and the farthest.
    """
    if ahead := int((times > now + _AHEAD).sum()):
        raise FeatureError(
            f"{ahead:,} of {len(times):,} rows to join lie in the future, the farthest at {times.max()}; it is "
            f"{now.isoformat(timespec='seconds')}.",
            hint="Correct the times (seconds taken for milliseconds, a clock that is ahead), or drop these rows.",
        )


def askable(entity_rows: pd.DataFrame, views: Sequence[ViewInfo]) -> pd.DataFrame:
    """Rows to join, checked, with a plain index and their times in UTC.

    Raises:
        FeatureError: the join key or a time is missing, or a column has the name of a feature.
    """
    for column in (views[0].entity, EVENT):
        if column not in entity_rows.columns:
            hint = did_you_mean(column, map(str, entity_rows.columns))
            raise FeatureError(f"Column {column!r} is missing from the rows to join.", hint=hint)
    features = {feature for view in views for feature in view.features}
    if taken := {*features, *CLOCK, ROW} & set(entity_rows.columns):
        raise FeatureError(
            f"The rows to join already have {', '.join(sorted(taken))}.", hint="Rename or drop these columns."
        )
    times = entity_rows[EVENT]
    if not isinstance(times.dtype, pd.DatetimeTZDtype) or times.isna().any():
        raise FeatureError(
            f"{EVENT} of the rows to join is {times.dtype} with {int(times.isna().sum()):,} nulls.",
            hint="Every row needs the zoned time at which it is asked for.",
        )
    return entity_rows.assign(**{EVENT: times.dt.tz_convert("UTC").dt.as_unit("us")}).reset_index(drop=True)


def conserved(found: pd.DataFrame, asked: int, service: str) -> pd.DataFrame:
    """`found` in the order asked for, if it holds every row once.

    Args:
        found: an answer with the numbers 0 … asked − 1 in the column `ROW`.
        asked: rows that went in.
        service: whose join it was.

    Raises:
        FeatureError: rows were lost or doubled; says how many.
    """
    came = found[ROW].to_numpy()
    distinct = len(np.unique(came))
    if distinct != asked or len(came) != asked:
        raise FeatureError(
            f"The join for {service!r} returned {len(came):,} rows for {asked:,}: {asked - distinct:,} were lost and "
            f"{len(came) - distinct:,} doubled.",
            hint="This is a fault of the offline store; Feast's file store is known for it, DuckDB is not.",
        )
    return found.sort_values(ROW, ignore_index=True)


def assembled(rows: pd.DataFrame, found: pd.DataFrame, views: Sequence[ViewInfo]) -> pd.DataFrame:
    """`rows` with the features beside them, and the times of the newest reading that joined.

    Args:
        rows: shape (n, c), plain index.
        found: Feast's answer for these rows, in their order, under Feast's column names.
        views: whose features.
    """
    columns: dict[str, Any] = {f: found[view.column(f)].to_numpy() for view in views for f in view.features}
    for field in CLOCK:
        dated = [view.column(field) for view in views if view.dated]
        newest = found[dated].max(axis=1).to_numpy(dtype=np.float64) if dated else np.full(len(rows), np.nan)
        columns[field] = times_of(newest)
    return pd.concat([rows, pd.DataFrame(columns, index=rows.index)], axis=1)


def times_of(microseconds: Any) -> pd.DatetimeIndex:
    """Zoned times from microseconds since 1970 as floats (integers below 2**53: exact), shape (n,); NaN becomes NaT."""
    times = np.full(len(microseconds), np.datetime64("NaT", "us"))
    there = ~np.isnan(microseconds)
    times[there] = microseconds[there].astype(np.int64).view("datetime64[us]")
    return pd.DatetimeIndex(times).tz_localize("UTC")
