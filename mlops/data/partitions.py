"""Partitions: a delivery that keeps its contract is published under its date.

`data/<dataset>/date=D` holds the validated rows that became known on D, sorted by entity and event time. It is replaced
whole, so running a date again leaves what one run leaves. What breaks its contract is in `mlops.data.quarantine`.

One rule: nothing downstream reads anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date

import pandas as pd
import pyarrow as pa

from mlops import log
from mlops.data import quarantine
from mlops.data.lying import Delivery, Lying
from mlops.data.validated import Form, Stream
from mlops.errors import SchemaError, did_you_mean
from mlops.records import DataSlice
from mlops.storage import Manifest, Storage, content_hash
from mlops.storage_files import publish_batches

_LOG = log.get(__name__)


def publish(
    storage: Storage,
    dataset: str,
    delivery: Delivery,
    form: Form,
    *,
    report_uri: str = "",
    waived: Sequence[str] = (),
    statistics: Mapping[str, Mapping[str, float]] | None = None,
) -> DataSlice:
    """Publish a delivery that keeps its contract as the validated partition of its date.

    Entity, timestamps, the contract's columns and those of `keep` that are there are kept, in the contract's types. A
    row that says it arrived before `day` became known to us on `day`: its arrival is lifted to the start of the day.
    A delivery that was left where it lies is published from there, within bounded memory.

    Args:
        storage: where partitions live.
        dataset: name of the data set.
        delivery: as `read_delivery` or `inspect` gives it.
        form: what its rows become.
        report_uri: page of the contract's check.
        waived: the broken rules that people have set aside; they stay with the partition.
        statistics: of the delivery, for what is usual; those of a delivery with waived rules are left out.

    Returns:
        The slice, with `released` True if this date was in quarantine until now.

    Raises:
        SchemaError: a column is missing, or cannot be turned into its type without loss.
        StorageError: the partition cannot be written; what was there before stands.
    """
    uri, held = partition_uri(storage, dataset, form.day), quarantine.place(storage, dataset, form.day)
    waiting = storage.manifest(held) is not None

    def facts(entities: int, late: int, content: str) -> dict[str, str]:
        found = {"entities": str(entities), "late_rows": str(late)}
        return found | decision(storage, dataset, form.day, content, waived, statistics)

    if isinstance(delivery, Lying):
        stream = Stream(delivery, form)
        manifest = publish_batches(
            storage, uri, stream.schema, stream.batches(), lambda content: facts(stream.entities, stream.late, content)
        )
    else:
        table, late = form.table(delivery)
        entities = len(table.column(form.entity).unique())
        manifest = storage.write_table(uri, table, facts(entities, late, content_hash(table)))
    if waiting:
        storage.delete(held)
    return told(dataset, form.day, uri, manifest, report_uri)


def decision(
    storage: Storage,
    dataset: str,
    day: date,
    content: str,
    waived: Sequence[str],
    statistics: Mapping[str, Mapping[str, float]] | None,
) -> dict[str, str]:
    """What a partition's manifest says of the decision to publish rows with this content hash; else as `publish`."""
    waiting = storage.manifest(quarantine.place(storage, dataset, day)) is not None
    released = waiting or _released_before(storage.manifest(partition_uri(storage, dataset, day)), content)
    found = {"released": str(released).lower()} | ({"waived": json.dumps(list(waived))} if waived else {})
    return found | ({"statistics": json.dumps(statistics)} if statistics and not waived else {})


def told(dataset: str, day: date, uri: str, manifest: Manifest, report_uri: str) -> DataSlice:
    """The partition that was published a moment ago."""
    slice_ = _slice(dataset, day, uri, manifest, report_uri)
    _LOG.info("published %s", log.facts(dataset=dataset, date=day, rows=manifest.rows, released=slice_.released))
    return slice_


def publishable(delivery: Delivery, form: Form) -> None:
    """Nothing, if `publish` could publish these rows; arguments as there.

    Raises:
        SchemaError: a column is missing, or cannot be turned into its type without loss.
    """
    if isinstance(delivery, Lying):
        for _ in Stream(delivery, form).batches():
            pass
    else:
        form.table(delivery)


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
    tables = [storage.read_table(partition_uri(storage, dataset, day)) for day in days]
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
    uri = partition_uri(storage, dataset, day)
    manifest = storage.manifest(uri)
    return None if manifest is None else _slice(dataset, day, uri, manifest)


def _slice(dataset: str, day: date, uri: str, manifest: Manifest, report_uri: str = "") -> DataSlice:
    facts = manifest.facts
    return DataSlice(
        dataset=dataset,
        date=day,
        status="validated",
        uri=uri,
        rows=manifest.rows,
        entities=int(facts.get("entities", 0)),
        late_rows=int(facts.get("late_rows", 0)),
        content_hash=manifest.content_hash,
        reasons=tuple(json.loads(facts.get("waived", "[]"))),
        report_uri=report_uri,
        released=facts.get("released") == "true",
    )


def usual_rows(storage: Storage, dataset: str, before: date, last: int) -> list[int]:
    """Row counts of the newest `last` validated deliveries before a date, oldest first."""
    days = [day for day in delivered_days(storage, dataset) if day < before][-last:]
    manifests = (storage.manifest(partition_uri(storage, dataset, day)) for day in days)
    return [manifest.rows for manifest in manifests if manifest]


def usual_statistics(
    storage: Storage, dataset: str, before: date, last: int
) -> list[Mapping[str, Mapping[str, float]]]:
    """Statistics of the newest `last` deliveries before a date that were accepted with some, oldest first."""
    days = [day for day in delivered_days(storage, dataset) if day < before]
    found: list[Mapping[str, Mapping[str, float]]] = []
    for day in reversed(days):
        manifest = storage.manifest(partition_uri(storage, dataset, day))
        if manifest and "statistics" in manifest.facts:
            found.append(json.loads(manifest.facts["statistics"]))
        if len(found) == last:
            break
    return found[::-1]


def _released_before(published: Manifest | None, content: str) -> bool:
    """Whether an earlier attempt with the same rows has released this date already."""
    return published is not None and published.facts.get("released") == "true" and published.content_hash == content


def partition_uri(storage: Storage, dataset: str, day: date) -> str:
    """Where the validated partition of a date is."""
    return storage.uri("data", dataset, f"date={day.isoformat()}")
