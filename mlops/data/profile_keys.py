"""Which columns are the entity, the event time and the arrival time, as far as data and names can tell.

One rule: a guess is made from the data first and from names only among equals.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mlops.errors import SchemaError, did_you_mean

_ENTITY = ("id", "device", "machine", "entity", "sensor", "customer", "user", "asset", "key", "name")
_EVENT = ("event", "timestamp", "time", "date", "at", "ts")
_ARRIVAL = ("arriv", "receiv", "ingest", "known", "created", "loaded", "inserted")


@dataclass(frozen=True)
class Keys:
    """The columns that say what a row is about and when."""

    entity: str
    event: str
    arrival: str  # "" if no column says so
    unique: bool  # entity and event time name a row once
    candidates: tuple[str, ...]  # other columns that could be the entity

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(name for name in (self.entity, self.event, self.arrival) if name)


def find_keys(frame: pd.DataFrame, *, entity: str = "", event: str = "", arrival: str = "") -> Keys:
    """The keys of a table; what is named is taken.

    Args:
        frame: instants in UTC where columns hold times.
        entity: column of the entity, if known.
        event: column of the event time, if known.
        arrival: column of the arrival time, if known.

    Raises:
        SchemaError: no column holds times, or none can be a key; or one that was named is not there.
    """
    for name in filter(None, (entity, event, arrival)):
        if name not in frame.columns:
            raise SchemaError(f"There is no column {name!r}.", hint=did_you_mean(name, map(str, frame.columns)))
    times = [str(name) for name in frame.columns if isinstance(frame[name].dtype, pd.DatetimeTZDtype)]
    times = [name for name in times if frame[name].notna().all()]
    for name in filter(None, (event, arrival)):
        if name not in times:
            raise SchemaError(f"Column {name!r} does not hold times throughout.", hint=f"Columns that do: {times}.")
    if not times:
        raise SchemaError("No column holds times throughout.", hint="A contract needs to know when things happened.")
    arrivals = [name for name in times if name != event and _named(name, _ARRIVAL)]
    event = event or min(
        (n for n in times if n not in (*arrivals, arrival)), key=lambda n: _rank(n, _EVENT), default=times[0]
    )
    arrival = arrival or next((n for n in arrivals if n != event and (frame[n] >= frame[event]).all()), "")
    ranked = sorted(_entities(frame, times), key=lambda name: _entity_rank(frame, name, event))
    if not entity and not ranked:
        raise SchemaError("No column of text or whole numbers without nulls can be a key.", hint="Name it: --entity.")
    chosen = entity or ranked[0]
    unique = not frame.duplicated([chosen, event]).any()
    return Keys(chosen, event, arrival, unique, tuple(name for name in ranked if name != chosen)[:3])


def _entities(frame: pd.DataFrame, times: list[str]) -> list[str]:
    names = [str(name) for name in frame.columns if name not in times and frame[name].notna().all()]
    return [name for name in names if _may_be_key(frame[name])]


def _may_be_key(values: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(values.dtype):
        return False
    return pd.api.types.is_integer_dtype(values.dtype) or pd.api.types.infer_dtype(values, skipna=True) == "string"


def _entity_rank(frame: pd.DataFrame, name: str, event: str) -> tuple[bool, int, float]:
    """Names rows together with the time; by its name; of few values, since an entity is seen many times."""
    twice = bool(frame.duplicated([name, event]).any())
    return twice, _rank(name, _ENTITY), frame[name].nunique() / len(frame)


def _named(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name.lower() for word in words)


def _rank(name: str, words: tuple[str, ...]) -> int:
    return next((i for i, word in enumerate(words) if word in name.lower()), len(words))
