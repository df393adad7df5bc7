"""Quarantine: a delivery that breaks its contract waits here, as it came, with what was found, until people decide.

`data_quarantine/<dataset>/date=D` is replaced whole, so running a date again leaves what one run leaves.

One rule: nothing downstream reads the quarantine.
"""

from __future__ import annotations

import json
from datetime import date, datetime

import pandas as pd
import pyarrow as pa

from mlops import log
from mlops.data import lying, parquet
from mlops.data.contracts import ContractResult
from mlops.data.finding import Finding, findings_from_json, findings_to_json
from mlops.data.lying import Delivery, Lying
from mlops.data.rule import Terms
from mlops.data.validated import as_they_came
from mlops.errors import NoDataError
from mlops.records import DataSlice
from mlops.spec import SourceSpec
from mlops.storage import TABLE_FILE, Manifest, Storage
from mlops.storage_files import publish_batches

_LOG = log.get(__name__)


def put(
    storage: Storage,
    dataset: str,
    day: date,
    delivery: Delivery,
    result: ContractResult,
    *,
    report_uri: str = "",
    model: str = "",
    at: datetime | None = None,
) -> DataSlice:
    """Put a delivery that breaks its contract aside, with the reasons. A validated partition of the date stays.

    Args:
        storage: where partitions live.
        dataset: name of the data set.
        day: date of the delivery.
        delivery: as `read_delivery` or `inspect` gives it; one that was left where it lies is copied from there.
        result: what its contract's check found.
        report_uri: page of the check.
        model: the model whose contract it breaks.
        at: when it was put here.

    Raises:
        StorageError: it cannot be written.
    """
    facts = facts_of(result, report_uri, model, at)
    uri = place(storage, dataset, day)
    if isinstance(delivery, Lying):
        manifest = publish_batches(storage, uri, *as_they_came(delivery), lambda _: facts)
    else:
        manifest = storage.write_table(uri, _as_it_came(delivery), facts)
    return put_aside(storage, dataset, day, manifest)


def facts_of(result: ContractResult, report_uri: str, model: str, at: datetime | None) -> dict[str, str]:
    """What the manifest of a delivery in quarantine says; arguments as `put`."""
    facts = {"reasons": json.dumps(list(result.reasons)), "report_uri": report_uri, "model": model}
    return facts | {"at": at.isoformat() if at else "", "findings": findings_to_json(result.findings)}


def put_aside(storage: Storage, dataset: str, day: date, manifest: Manifest) -> DataSlice:
    """The delivery that was put into quarantine a moment ago."""
    _LOG.warning("quarantined %s", log.facts(dataset=dataset, date=day, rows=manifest.rows))
    return _slice(dataset, day, place(storage, dataset, day), manifest)


def waiting(storage: Storage, dataset: str, day: date) -> DataSlice | None:
    """The delivery of `day` that waits in quarantine, or None."""
    uri = place(storage, dataset, day)
    manifest = storage.manifest(uri)
    return _slice(dataset, day, uri, manifest) if manifest else None


def waiting_days(storage: Storage, dataset: str) -> list[date]:
    """The dates with a delivery in quarantine, sorted."""
    return storage.partitions(storage.uri("data_quarantine", dataset))


def found(storage: Storage, dataset: str, day: date) -> tuple[str, str, tuple[Finding, ...]]:
    """The model whose contract the delivery in quarantine breaks, since when it is there, and what was found.

    Raises:
        NoDataError: none waits there.
    """
    manifest = storage.manifest(place(storage, dataset, day))
    if manifest is None:
        raise _nothing_waits(storage, dataset, day)
    facts = manifest.facts
    return facts.get("model", ""), facts.get("at", ""), findings_from_json(facts.get("findings", "[]"))


def read(storage: Storage, dataset: str, day: date, terms: Terms | None = None) -> Delivery:
    """The rows of the delivery in quarantine, in the order in which they came.

    Args:
        storage: where partitions live.
        dataset: name of the data set.
        day: date of the delivery.
        terms: what it is held against. With them, a large delivery is left where it lies, if it can be read there.

    Raises:
        NoDataError: none waits there.
        StorageError: it cannot be read.
    """
    uri = place(storage, dataset, day)
    manifest = storage.manifest(uri)
    if manifest is None:
        raise _nothing_waits(storage, dataset, day)
    if terms is not None and not manifest.shards and manifest.rows > lying.IN_MEMORY_ROWS:
        file = f"{storage.uri('data_quarantine', dataset, 'date={date}')}/{TABLE_FILE}"
        source = SourceSpec(kind="parquet", uri=file, options=storage.options if "://" in file else {})
        if (parts := parquet.find(source, terms)) is not None:
            return Lying(source, parts, terms, parts.state, manifest.rows)
    frame: pd.DataFrame = storage.read_table(uri).to_pandas(date_as_object=False)
    return frame


def place(storage: Storage, dataset: str, day: date) -> str:
    """Where the delivery of a date waits."""
    return storage.uri("data_quarantine", dataset, f"date={day.isoformat()}")


def discard(storage: Storage, dataset: str, day: date) -> None:
    """Take the delivery of `day` out of quarantine for good; nothing happens if none is there."""
    storage.delete(place(storage, dataset, day))


def _as_it_came(frame: pd.DataFrame) -> pa.Table:
    """The delivery as a table; columns without one type, which may be why it is refused, become text."""
    arrays: dict[str, pa.Array] = {}
    for position, name in enumerate(frame.columns):
        values = frame.iloc[:, position]
        try:
            arrays[str(name)] = pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError):
            arrays[str(name)] = pa.array(values.astype("string"), from_pandas=True)
    return pa.table(arrays)


def _nothing_waits(storage: Storage, dataset: str, day: date) -> NoDataError:
    waiting = ", ".join(map(str, waiting_days(storage, dataset))) or "none"
    return NoDataError(f"No delivery of {dataset} for {day} waits in quarantine.", hint=f"Dates that wait: {waiting}.")


def _slice(dataset: str, day: date, uri: str, manifest: Manifest) -> DataSlice:
    return DataSlice(
        dataset=dataset,
        date=day,
        status="quarantined",
        uri=uri,
        rows=manifest.rows,
        content_hash=manifest.content_hash,
        reasons=tuple(json.loads(manifest.facts["reasons"])),
        report_uri=manifest.facts["report_uri"],
    )
