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
from mlops.data.contracts import ContractResult
from mlops.data.finding import Finding, findings_from_json, findings_to_json
from mlops.errors import NoDataError
from mlops.records import DataSlice
from mlops.storage import Manifest, Storage

_LOG = log.get(__name__)


def put(
    storage: Storage,
    dataset: str,
    day: date,
    frame: pd.DataFrame,
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
        frame: the delivery, as `read_delivery` gives it.
        result: what its contract's check found.
        report_uri: page of the check.
        model: the model whose contract it breaks.
        at: when it was put here.

    Raises:
        StorageError: it cannot be written.
    """
    facts = {"reasons": json.dumps(list(result.reasons)), "report_uri": report_uri, "model": model}
    facts |= {"at": at.isoformat() if at else "", "findings": findings_to_json(result.findings)}
    uri = place(storage, dataset, day)
    manifest = storage.write_table(uri, _as_it_came(frame), facts)
    _LOG.warning("quarantined %s", log.facts(dataset=dataset, date=day, rows=manifest.rows))
    return _slice(dataset, day, uri, manifest)


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


def read(storage: Storage, dataset: str, day: date) -> pd.DataFrame:
    """The rows of the delivery in quarantine, in the order in which they came.

    Raises:
        NoDataError: none waits there.
        StorageError: it cannot be read.
    """
    uri = place(storage, dataset, day)
    if storage.manifest(uri) is None:
        raise _nothing_waits(storage, dataset, day)
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
