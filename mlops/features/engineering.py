"""Rolling features of a telemetry table, written once and used by batch and online alike.

`Recipe` says which features; `engineer` computes them. A feature of a reading is a function of the readings of the same
entity that had happened *and had become known* when that reading became known. So features computed night by night
equal those computed over the whole history, and a training set holds nothing that serving would not have had.

One rule: a row is never built from a reading that arrived after it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.errors import FeatureError, SchemaError, did_you_mean
from mlops.features.derived import Derivation, Made, add, split
from mlops.features.windows import Readings, Spans, previous_reading, spans_within, summarise

Floats = npt.NDArray[np.float64]

EVENT = "event_timestamp"
CREATED = "created_timestamp"
WINDOWED = ("mean", "std", "min", "max", "slope", "deviation", "count")
POINTWISE = ("value", "rate")
CALENDAR = ("hour", "weekday", "season")
_KEYS = ("columns", "windows", "statistics", "calendar", "reach")
_LAG = re.compile(r"lag([1-9]\d*)")
_MICROSECONDS_PER_HOUR = 3_600_000_000
_PERIODS = {"hour": 24.0, "weekday": 7 * 24.0, "season": 365.2425 * 24.0}  # [h]
_MONDAY = 4 * 24.0  # 1970-01-05 00:00 UTC was a Monday [h since 1970]


@dataclass(frozen=True)
class Recipe:
    """Which features to make of which columns.

    | statistic | feature | unit |
    |---|---|---|
    | `value` | `<column>`: the reading itself | column's |
    | `mean`, `min`, `max` | `<column>_mean_<window>`: over the window | column's |
    | `std` | sample standard deviation (ddof 1); null with fewer than 2 readings | column's |
    | `slope` | least-squares slope over the window; null with fewer than 2 readings | column's per hour |
    | `deviation` | the reading less the window's mean | column's |
    | `count` | readings in the window that are not null | 1 |
    | `rate` | `<column>_rate`: change since the previous reading that is not null | column's per hour |
    | `lag<k>` | `<column>_lag<k>`: the k-th earlier reading | column's |
    | `hour`, `weekday`, `season` | `hour_sin`, `hour_cos`, …: place in the UTC day, week, year | −1…1 |

    A window of `1h` at time t holds the readings in (t − 1 h, t]. Nulls in it are skipped.

    Args:
        columns: numeric columns of the data set, or functions declared with `mlops.features.derived.column`.
        windows: lengths as pandas writes them (`"30min"`, `"6h"`, `"1d"`).
        statistics: what to compute, from the table.
        calendar: any of `hour`, `weekday`, `season`.
        reach: how far back `rate` and `lag<k>` look, inclusive.
        derived: how those columns are made that are functions; found in `columns`.

    Raises:
        FeatureError: an unknown statistic, a wrong window, or a statistic without the window it needs.
    """

    columns: tuple[str | Made, ...]
    windows: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ("value",)
    calendar: tuple[str, ...] = ()
    reach: str = "1d"
    derived: tuple[Derivation, ...] = ()

    def __post_init__(self) -> None:
        for name in ("columns", "windows", "statistics", "calendar"):
            values = getattr(self, name)
            if isinstance(values, str):
                raise FeatureError(f"Recipe.{name} is the text {values!r}.", hint=f"Write {name}=({values!r},).")
            object.__setattr__(self, name, tuple(values))
        names, derived = split(self.columns)
        object.__setattr__(self, "columns", names)
        object.__setattr__(self, "derived", (*self.derived, *derived))
        for statistic in self.statistics:
            if statistic not in WINDOWED + POINTWISE and not _LAG.fullmatch(statistic):
                hint = did_you_mean(statistic, [*WINDOWED, *POINTWISE, "lag1"])
                raise FeatureError(f"Unknown statistic {statistic!r}.", hint=hint)
        for part in self.calendar:
            if part not in CALENDAR:
                raise FeatureError(f"Unknown calendar feature {part!r}.", hint=did_you_mean(part, CALENDAR))
        for length in (*self.windows, self.reach):
            _length(length)
        if self._windowed and not self.windows:
            raise FeatureError(f"{', '.join(self._windowed)} need windows.", hint='Add windows=("1h",), or drop them.')
        made = self.feature_names
        if repeated := sorted({name for name in made if made.count(name) > 1}):
            raise FeatureError(f"The recipe makes {', '.join(repeated)} twice.", hint="Name each part once.")
        if not made:
            raise FeatureError("The recipe makes no feature.", hint="Name columns and statistics, or a calendar.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that statistics are taken of, those made by functions included."""
        return tuple(name for name in self.columns if isinstance(name, str))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Columns of the data set that the features are made of, each once."""
        made = {each.name: each.inputs for each in self.derived}
        return tuple(dict.fromkeys(source for name in self.names for source in made.get(name, (name,))))

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the table that `engineer` returns."""
        names: list[str] = []
        for column in self.names:
            for statistic in self.statistics:
                if statistic == "value":
                    names.append(column)
                elif statistic in WINDOWED:
                    names.extend(f"{column}_{statistic}_{window}" for window in self.windows)
                else:
                    names.append(f"{column}_{statistic}")
        return (*names, *(f"{part}_{wave}" for part in self.calendar for wave in ("sin", "cos")))

    @cached_property
    def lookback(self) -> timedelta:
        """How much history before a reading's event time its features depend on."""
        lengths = [_length(window) for window in self.windows] if self._windowed else []
        if "rate" in self.statistics or self._lags:
            lengths.append(_length(self.reach))
        return max(lengths, default=pd.Timedelta(0)).to_pytimedelta()

    @cached_property
    def _windowed(self) -> tuple[str, ...]:
        return tuple(s for s in self.statistics if s in WINDOWED)

    @cached_property
    def _lags(self) -> tuple[int, ...]:
        return tuple(int(match.group(1)) for s in self.statistics if (match := _LAG.fullmatch(s)))

    def to_json(self) -> str:
        """The recipe as one line of JSON; `from_json` reads it."""
        return json.dumps(self._facts(), sort_keys=True)

    @cached_property
    def fingerprint(self) -> str:
        """Names the recipe: tables made with different ones do not mix."""
        facts = self._facts()
        for each in facts.get("derived", ()):
            del each["unit"], each["meaning"]  # words change no value
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {key: getattr(self, key) for key in _KEYS}
        return facts | ({"derived": [each.facts() for each in self.derived]} if self.derived else {})

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe that `to_json` wrote.

        >>> recipe = Recipe(("pressure",), ("1h",), ("mean", "lag1"))
        >>> Recipe.from_json(recipe.to_json()) == recipe
        True
        """
        facts = json.loads(text)
        derived = [Derivation(**each | {"inputs": tuple(each["inputs"])}) for each in facts.pop("derived", ())]
        return cls(**facts, derived=tuple(derived))


def engineer(
    rows: pd.DataFrame, recipe: Recipe, *, entity: str, event: str, known_at: str, since: datetime | None = None
) -> pd.DataFrame:
    """The features of every reading.

    Of several readings of one entity at one event time, each counts until a later known one replaces it; of those known
    at the same instant the last row counts.

    Args:
        rows: readings, shape (n, ≥ 3), any order; `event` and `known_at` zoned. Nulls in columns are skipped.
        recipe: which features.
        entity: column that names what the readings are about.
        event: column that says when it happened.
        known_at: column that says when it became known; may be the same as `event`.
        since: only readings known at or after this are returned, earlier ones are history. For these features to be
            right, `rows` must hold every reading from `recipe.lookback` before the earliest event returned.

    Returns:
        shape (m, 3 + features): entity, `event_timestamp`, `created_timestamp`, features as float64 with NaN for null;
        sorted by entity, event and known time. `event_timestamp` is zoned UTC in microseconds.

    Raises:
        SchemaError: a column is missing, not numeric, or a timestamp is null or without zone.
    """
    table = checked(add(rows, recipe.derived), recipe, entity, event, known_at)
    readings = Readings.of(
        table[entity], microseconds(table[event]), microseconds(table[known_at]), table[list(recipe.names)]
    )
    wanted = np.arange(len(readings))
    if since is not None:
        wanted = np.flatnonzero(readings.known >= pd.Timestamp(since).tz_convert("UTC").value // 1_000)
    features = features_of(readings, wanted, recipe)
    source = readings.source[wanted]
    keys = {
        entity: table[entity].take(source).reset_index(drop=True),
        EVENT: timestamps(readings.event[wanted]),
        CREATED: timestamps(readings.known[wanted]),
    }
    return pd.DataFrame(keys | {name: features[name] for name in recipe.feature_names})


def features_of(readings: Readings, wanted: npt.NDArray[np.int64], recipe: Recipe) -> dict[str, Floats]:
    """The features of some readings, from all that are known: what batch and stream share.

    Args:
        readings: sorted, with every reading that the features depend on.
        wanted: positions of those whose features are made, shape (m,).
        recipe: which features.

    Returns:
        feature -> values, shape (m,) each; NaN for null.
    """
    features: dict[str, Floats] = {}
    for window in recipe.windows if recipe._windowed else ():
        spans = spans_within(readings, wanted, _length(window).value // 1_000)
        _add_windowed(features, readings, wanted, spans, recipe, window)
    _add_pointwise(features, readings, wanted, recipe)
    hours = readings.event[wanted] / _MICROSECONDS_PER_HOUR
    for part in recipe.calendar:
        angle = 2 * np.pi * np.mod(hours - (_MONDAY if part == "weekday" else 0.0), _PERIODS[part]) / _PERIODS[part]
        features |= {f"{part}_sin": np.sin(angle), f"{part}_cos": np.cos(angle)}
    return features


def _add_windowed(
    features: dict[str, Floats],
    readings: Readings,
    wanted: npt.NDArray[np.int64],
    spans: Spans,
    recipe: Recipe,
    window: str,
) -> None:
    found = summarise(readings, spans, {"mean" if s == "deviation" else s for s in recipe._windowed})
    for column, values in readings.values.items():
        if "deviation" in recipe._windowed:
            found[column, "deviation"] = values[wanted] - found[column, "mean"]
        features |= {f"{column}_{s}_{window}": found[column, s] for s in recipe._windowed}


def _add_pointwise(
    features: dict[str, Floats], readings: Readings, wanted: npt.NDArray[np.int64], recipe: Recipe
) -> None:
    reach = _length(recipe.reach).value // 1_000
    steps = {0: wanted}
    for k in range(1, max(recipe._lags, default=0) + 1):
        steps[k] = previous_reading(readings, wanted, steps[k - 1], reach)
    for column, values in readings.values.items():
        if "value" in recipe.statistics:
            features[column] = values[wanted]
        for k in recipe._lags:
            features[f"{column}_lag{k}"] = np.where(steps[k] >= 0, values[steps[k]], np.nan)
        if "rate" in recipe.statistics:
            before = previous_reading(readings, wanted, wanted, reach, usable=~np.isnan(values))
            hours = (readings.event[wanted] - readings.event[before]) / _MICROSECONDS_PER_HOUR
            change = np.where(before >= 0, values[wanted] - values[before], np.nan)
            features[f"{column}_rate"] = np.divide(change, hours, out=np.full(len(wanted), np.nan), where=before >= 0)


def _length(text: str) -> pd.Timedelta:
    try:
        length = pd.Timedelta(text)
    except ValueError as error:
        raise FeatureError(f"{text!r} is not a length of time.", hint='Write "30min", "6h" or "1d".') from error
    if pd.isna(length) or length <= pd.Timedelta(0):
        raise FeatureError(f"{text!r} is not a positive length of time.", hint='Write "30min", "6h" or "1d".')
    return length


def checked(rows: pd.DataFrame, recipe: Recipe, entity: str, event: str, known_at: str) -> pd.DataFrame:
    """The rows, if they can be made features of; raises `SchemaError` if not."""
    for column in (entity, event, known_at, *recipe.names):
        if column not in rows.columns:
            hint = f"{did_you_mean(column, map(str, rows.columns))} Correct the recipe, or deliver the column."
            raise SchemaError(f"Column {column!r} is missing.", hint=hint)
    for column in (event, known_at):
        kind = rows[column].dtype
        if not isinstance(kind, pd.DatetimeTZDtype):
            raise SchemaError(f"Column {column!r} is {kind}, expected timestamps with a zone.", hint="Convert to UTC.")
    for column in recipe.names:
        if not (pd.api.types.is_numeric_dtype(rows[column].dtype) or rows[column].isna().all()):
            raise SchemaError(
                f"Column {column!r} is {rows[column].dtype}, expected numbers.",
                hint="Correct the contract's type, or leave the column out of the recipe.",
            )
    for column in (entity, event, known_at):
        if nulls := int(rows[column].isna().sum()):
            raise SchemaError(
                f"Column {column!r} is null in {nulls:,} of {len(rows):,} rows.", hint="Drop them, or mend the source."
            )
    return rows


def microseconds(times: pd.Series[pd.Timestamp]) -> npt.NDArray[np.int64]:
    """Zoned times as integers [µs since 1970]."""
    return np.asarray(times.dt.tz_convert("UTC").dt.as_unit("us").astype("int64"), dtype=np.int64)


def timestamps(times: npt.NDArray[np.int64]) -> pd.DatetimeIndex:
    """Integers [µs since 1970] as zoned times."""
    return pd.DatetimeIndex(times.view("datetime64[us]")).tz_localize("UTC")
