"""Which columns are the entity, the event time and the arrival time, as far as data and names can tell.

One rule: a guess is made from the data first and from names only among equals.
"""

from __future__ import annotations

from mlops.data.profile_table import Keys, ProfileTable
from mlops.errors import SchemaError, did_you_mean

_ENTITY = ("id", "device", "machine", "entity", "sensor", "customer", "user", "asset", "key", "name")
_EVENT = ("event", "timestamp", "time", "date", "at", "ts")
_ARRIVAL = ("arriv", "receiv", "ingest", "known", "created", "loaded", "inserted")


def find_keys(table: ProfileTable, *, entity: str = "", event: str = "", arrival: str = "") -> Keys:
    """The keys of a table; what is named is taken.

    Args:
        table: the rows.
        entity: column of the entity, if known.
        event: column of the event time, if known.
        arrival: column of the arrival time, if known.

    Raises:
        SchemaError: no column holds times, or none can be a key; or one that was named is not there.
    """
    for name in filter(None, (entity, event, arrival)):
        if name not in table.names:
            raise SchemaError(f"There is no column {name!r}.", hint=did_you_mean(name, table.names))
    times = table.times
    for name in filter(None, (event, arrival)):
        if name not in times:
            raise SchemaError(f"Column {name!r} does not hold times throughout.", hint=f"Columns that do: {times}.")
    if not times:
        raise SchemaError("No column holds times throughout.", hint="A contract needs to know when things happened.")
    arrivals = [name for name in times if name != event and _named(name, _ARRIVAL)]
    event = event or min(
        (n for n in times if n not in (*arrivals, arrival)), key=lambda n: _rank(n, _EVENT), default=times[0]
    )
    arrival = arrival or next((n for n in arrivals if n != event and table.never_before(n, event)), "")
    ranked = sorted(table.keyable, key=lambda name: _entity_rank(table, name, event))
    if not entity and not ranked:
        raise SchemaError("No column of text or whole numbers without nulls can be a key.", hint="Name it: --entity.")
    chosen = entity or ranked[0]
    unique = not table.twice(chosen, event)
    return Keys(chosen, event, arrival, unique, tuple(name for name in ranked if name != chosen)[:3])


def _entity_rank(table: ProfileTable, name: str, event: str) -> tuple[bool, int, float]:
    """Names rows together with the time; by its name; of few values, since an entity is seen many times."""
    return table.seems_twice(name, event), _rank(name, _ENTITY), table.distinct(name) / table.rows


def _named(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name.lower() for word in words)


def _rank(name: str, words: tuple[str, ...]) -> int:
    return next((i for i, word in enumerate(words) if word in name.lower()), len(words))
