"""Partitions: a delivery that keeps its contract is published under its date.

`data/<dataset>/date=D` holds the validated rows that became known on D, sorted by entity and event time. It is replaced
whole, so running a date again leaves what one run leaves. What breaks its contract is in `mlops.data.quarantine`.

One rule: nothing downstream reads anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time

import pandas as pd
import pyarrow as pa

from mlops import log
from mlops.data import quarantine
from mlops.errors import SchemaError, did_you_mean
from mlops.records import DataSlice
from mlops.spec import ContractSpec, TimestampsSpec
from mlops.storage import Manifest, Storage, content_hash

_LOG = log.get(__name__)
_ARROW = {"float": pa.float64(), "int": pa.int64(), "string": pa.string(), "bool": pa.bool_()}
_INSTANT = pa.timestamp("us", "UTC")


def publish(
    storage: Storage,
    dataset: str,
    day: date,
    frame: pd.DataFrame,
    *,
    contract: ContractSpec,
    entity: str,
    timestamps: TimestampsSpec,
    keep: Sequence[str] = (),
    report_uri: str = "",
    waived: Sequence[str] = (),
    statistics: Mapping[str, Mapping[str, float]] | None = None,
) -> DataSlice:
    """Publish a delivery that keeps its contract as the validated partition of its date.

    Entity, timestamps, the contract's columns and those of `keep` that are there are kept, in the contract's types. A
    row that says it arrived before `day` became known to us on `day`: its arrival is lifted to the start of the day.

    Args:
        storage: where partitions live.
        dataset: name of the data set.
        day: date of the delivery.
        frame: the delivery, as `read_delivery` gives it.
        contract: what the columns are.
        entity: column of the entity.
        timestamps: columns of event and arrival.
        keep: further columns to keep where present, such as the label.
        report_uri: page of the contract's check.
        waived: the broken rules that people have set aside; they stay with the partition.
        statistics: of the delivery, for what is usual; those of a delivery with waived rules are left out.

    Returns:
        The slice, with `released` True if this date was in quarantine until now.

    Raises:
        SchemaError: a column is missing, or cannot be turned into its type without loss.
        StorageError: the partition cannot be written; what was there before stands.
    """
    table, late = _validated(frame, day, contract, entity, timestamps, keep)
    uri, held = _uri(storage, dataset, day), quarantine.place(storage, dataset, day)
    waiting = storage.manifest(held) is not None
    released = waiting or _released_before(storage.manifest(uri), table)
    entities = len(table.column(entity).unique())
    facts = {"entities": str(entities), "late_rows": str(late), "released": str(released).lower()}
    facts |= {"waived": json.dumps(list(waived))} if waived else {}
    facts |= {"statistics": json.dumps(statistics)} if statistics and not waived else {}
    manifest = storage.write_table(uri, table, facts)
    if waiting:
        storage.delete(held)
    _LOG.info("published %s", log.facts(dataset=dataset, date=day, rows=manifest.rows, released=released))
    return DataSlice(
        dataset=dataset,
        date=day,
        status="validated",
        uri=uri,
        rows=manifest.rows,
        entities=entities,
        late_rows=late,
        content_hash=manifest.content_hash,
        reasons=tuple(waived),
        report_uri=report_uri,
        released=released,
    )


def publishable(
    frame: pd.DataFrame,
    day: date,
    *,
    contract: ContractSpec,
    entity: str,
    timestamps: TimestampsSpec,
    keep: Sequence[str] = (),
) -> None:
    """Nothing, if `publish` could publish these rows; arguments as there.

    Raises:
        SchemaError: a column is missing, or cannot be turned into its type without loss.
    """
    _validated(frame, day, contract, entity, timestamps, keep)


def read_rows(
    storage: Storage, dataset: str, start_day: date, end_day: date, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The validated rows delivered from `start_day` to `end_day`, both included.

    Args:
        storage: where partitions live.
        dataset: name of the data set.
        start_day: first date of delivery.
        end_day: last date of delivery.
        columns: columns to read; default: all.

    Returns:
        By date of delivery, within it by entity and event time; empty if there is no partition. A column that an older
        partition lacks is null there.

    Raises:
        SchemaError: no partition has one of `columns`.
        StorageError: a partition cannot be read.
    """
    days = [day for day in delivered_days(storage, dataset) if start_day <= day <= end_day]
    if not days:
        return pd.DataFrame(columns=list(columns or ()))
    tables = [storage.read_table(_uri(storage, dataset, day)) for day in days]
    if columns is not None:
        known = set().union(*(table.column_names for table in tables))
        if missing := [name for name in columns if name not in known]:
            raise SchemaError(
                f"Validated rows of {dataset} have no column {missing[0]!r}.",
                hint=f"{did_you_mean(missing[0], known)} Add it to the contract to have it kept.",
            )
        tables = [table.select([name for name in columns if name in table.column_names]) for table in tables]
    try:
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    except pa.ArrowTypeError as error:
        raise SchemaError(
            f"Validated rows of {dataset} change type: {_changed_type(days, tables)}.",
            hint="Have the odd dates delivered again in one type, then run ingestion for them.",
        ) from error
    return frame[list(columns)] if columns is not None else frame


def _changed_type(days: Sequence[date], tables: Sequence[pa.Table]) -> str:
    """The first column that is of several types, with a date of each."""
    for name in tables[0].column_names:
        kinds: dict[str, date] = {}
        for day, table in zip(days, tables, strict=True):
            if name in table.column_names:
                kinds.setdefault(str(table.schema.field(name).type), day)
        try:
            pa.unify_schemas(
                [t.select([name]).schema for t in tables if name in t.column_names], promote_options="permissive"
            )
        except pa.ArrowTypeError:
            return f"{name!r} is " + " and ".join(f"{kind} on {day}" for kind, day in kinds.items())
    return "a column is of several types"


def delivered_days(storage: Storage, dataset: str) -> list[date]:
    """The dates with a validated partition, sorted."""
    return storage.partitions(storage.uri("data", dataset))


def published(storage: Storage, dataset: str, day: date) -> DataSlice | None:
    """The validated partition of a date, or None; `reasons` are the rules that people set aside."""
    manifest = storage.manifest(_uri(storage, dataset, day))
    if manifest is None:
        return None
    facts = manifest.facts
    return DataSlice(
        dataset=dataset,
        date=day,
        status="validated",
        uri=_uri(storage, dataset, day),
        rows=manifest.rows,
        entities=int(facts.get("entities", 0)),
        late_rows=int(facts.get("late_rows", 0)),
        content_hash=manifest.content_hash,
        reasons=tuple(json.loads(facts.get("waived", "[]"))),
        released=facts.get("released") == "true",
    )


def usual_rows(storage: Storage, dataset: str, before: date, last: int) -> list[int]:
    """Row counts of the newest `last` validated deliveries before a date, oldest first."""
    days = [day for day in delivered_days(storage, dataset) if day < before][-last:]
    manifests = (storage.manifest(_uri(storage, dataset, day)) for day in days)
    return [manifest.rows for manifest in manifests if manifest]


def usual_statistics(
    storage: Storage, dataset: str, before: date, last: int
) -> list[Mapping[str, Mapping[str, float]]]:
    """Statistics of the newest `last` deliveries before a date that were accepted with some, oldest first."""
    days = [day for day in delivered_days(storage, dataset) if day < before]
    found: list[Mapping[str, Mapping[str, float]]] = []
    for day in reversed(days):
        manifest = storage.manifest(_uri(storage, dataset, day))
        if manifest and "statistics" in manifest.facts:
            found.append(json.loads(manifest.facts["statistics"]))
        if len(found) == last:
            break
    return found[::-1]


def _validated(
    frame: pd.DataFrame,
    day: date,
    contract: ContractSpec,
    entity: str,
    timestamps: TimestampsSpec,
    keep: Sequence[str],
) -> tuple[pa.Table, int]:
    """The rows as they are published, and how many of them are late."""
    times = [timestamps.event, *([timestamps.arrival] if timestamps.arrival else [])]
    needed = [entity, *times, *contract.columns]
    if missing := [name for name in needed if name not in frame.columns]:
        raise SchemaError(
            f"The delivery has no column {missing[0]!r}.", hint=did_you_mean(missing[0], map(str, frame.columns))
        )
    kinds = dict.fromkeys(times, _INSTANT) | {name: _ARROW[c.type] for name, c in contract.columns.items()}
    extra = [name for name in keep if name in frame.columns and name not in needed]
    rows = frame[[*needed, *extra]].sort_values([entity, timestamps.event], kind="stable")
    start = pd.Timestamp(datetime.combine(day, time(), UTC))
    if timestamps.arrival:
        arrival = rows[timestamps.arrival]
        rows[timestamps.arrival] = arrival.where(arrival >= start, start)
    arrays = {name: _column(rows[name], kinds.get(name)) for name in rows.columns}
    return pa.table(arrays), int((rows[timestamps.event] < start).sum())


def _column(values: pd.Series, kind: pa.DataType | None) -> pa.Array:
    """A column in its type: without loss, except that whole numbers may become floats."""
    try:
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(values.cat.categories.dtype)
        array = pa.array(values, from_pandas=True)
        if kind is None:
            moment = pa.types.is_timestamp(array.type)
            return array.cast(pa.timestamp("us", array.type.tz), safe=False) if moment else array
        return array.cast(kind, safe=not (pa.types.is_floating(kind) or pa.types.is_timestamp(kind)))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SchemaError(
            f"Column {values.name!r} cannot be kept as {kind or 'one type'}: {' '.join(str(error).split())}.",
            hint="Mend the source, or the column's type in the contract.",
        ) from error


def _released_before(published: Manifest | None, table: pa.Table) -> bool:
    """Whether an earlier attempt with the same rows has released this date already."""
    return (
        published is not None
        and published.facts.get("released") == "true"
        and published.content_hash == content_hash(table)
    )


def _uri(storage: Storage, dataset: str, day: date) -> str:
    return storage.uri("data", dataset, f"date={day.isoformat()}")
