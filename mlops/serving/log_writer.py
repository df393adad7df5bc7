"""From the spool to Parquet: closed segments become partitions of the prediction log, and go.

A segment is published under a name of its own, whole, and removed only then. A writer that dies in between publishes it
again under the same name: at least once on disk, once in the log. It takes over what dead processes have left.

One rule: nothing is removed that was not published.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlops import log
from mlops.serving.log_frames import Columns, Rows, TornError, frames
from mlops.serving.log_spool import CLOSED, LOCK, OPEN
from mlops.storage import Storage

LOG = "prediction_log"
_TIME = pa.timestamp("us", "UTC")
_logger = log.get(__name__)


@dataclass(slots=True)
class Published:
    """What a pass over the spool has done."""

    segments: int = 0
    rows: int = 0
    torn_bytes: int = 0

    def __iadd__(self, other: Published) -> Published:
        self.segments += other.segments
        self.rows += other.rows
        self.torn_bytes += other.torn_bytes
        return self


def log_uri(storage: Storage, model: str) -> str:
    """Where the prediction log of a model lies."""
    return storage.uri(LOG, model)


def publish(storage: Storage, folder: Path) -> Published:
    """Publish all closed segments of all spools in a folder, and those that dead processes have left open.

    Raises:
        StorageError: a table could not be written; its segment stays, and is published by the next pass.
    """
    total = Published()
    for spool in sorted(path for path in folder.glob("[!.]*") if path.is_dir()):
        abandoned = _adopt(spool)
        for segment in sorted(spool.glob(f"*{CLOSED}")):
            total += _publish_segment(storage, segment)
            segment.unlink()
        if abandoned:
            (spool / LOCK).unlink(missing_ok=True)
            spool.rmdir()
    return total


def _adopt(spool: Path) -> bool:
    """Whether a spool's process is gone; its open segment is closed for it."""
    lock = os.open(spool / LOCK, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    for path in spool.glob(f"*{OPEN}"):
        path.rename(path.with_suffix(CLOSED))
    return True


def _publish_segment(storage: Storage, segment: Path) -> Published:
    """One table per model and date of the segment."""
    declared: dict[int, Columns] = {}
    groups: dict[tuple[str, str], list[tuple[Columns, Rows]]] = {}
    done = Published(segments=1)
    try:
        for frame in frames(segment.read_bytes()):
            if isinstance(frame, Columns):
                declared[frame.number] = frame
            else:
                columns = declared[frame.columns]
                day = datetime.fromtimestamp(frame.at_us / 1e6, UTC).date().isoformat()
                groups.setdefault((columns.model, day), []).append((columns, frame))
    except TornError as torn:
        done.torn_bytes = torn.left
        _logger.warning("Prediction log: the end of %s was cut short, %d bytes.", segment, torn.left)
    name = f"{segment.parent.name}-{segment.stem}"
    for (model, day), found in groups.items():
        table = _table(found)
        uri = f"{log_uri(storage, model)}/date={day}/{name}"
        storage.write_table(uri, table, {"model": model, "date": day, "spool": name})
        done.rows += table.num_rows
    return done


def _table(found: list[tuple[Columns, Rows]]) -> pa.Table:
    """The rows of frames that may be of several versions, with the columns of all of them."""
    blocks: dict[int, list[Rows]] = {}
    columns: dict[int, Columns] = {}
    for known, rows in found:
        blocks.setdefault(known.number, []).append(rows)
        columns[known.number] = known
    tables = [_block(columns[number], rows) for number, rows in blocks.items()]
    return pa.concat_tables(tables, promote_options="permissive")


def _block(columns: Columns, found: list[Rows]) -> pa.Table:
    scores = [np.frombuffer(rows.scores, dtype=np.float64) for rows in found]
    sizes = np.array([len(each) for each in scores])
    total = int(sizes.sum())
    score = np.concatenate(scores)

    def repeated(values: Iterable[object], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(np.repeat(np.arange(len(found)), sizes)))

    def by_row(name: str, kind: pa.DataType) -> pa.Array:
        values: list[object] = []
        for rows, size in zip(found, sizes, strict=True):
            given = getattr(rows, name)
            values += [None] * int(size) if given is None else given
        return pa.array([str(v) if v is not None and pa.types.is_string(kind) else v for v in values], kind)

    known = ~np.isnan(score)
    flag = None if columns.threshold is None else score > columns.threshold
    table = {
        "request_id": repeated([rows.request_id for rows in found], pa.string()),
        "row": pa.array(np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes), pa.int32()),
        "predicted_at": repeated([rows.at_us for rows in found], pa.int64()).cast(_TIME),
        "model_version": pa.array(np.full(total, columns.version), pa.int32()),
        "variant": repeated([rows.variant for rows in found], pa.string()),
        "experiment": repeated([rows.experiment for rows in found], pa.string()),
        columns.entity: by_row("entities", pa.string()),
        "event_timestamp": by_row("event_us", pa.int64()).cast(_TIME),
        "feature_timestamp": by_row("feature_us", pa.int64()).cast(_TIME),
        "feature_known_at": by_row("known_us", pa.int64()).cast(_TIME),
        "latency_us": repeated([rows.latency_us for rows in found], pa.float64()),
        "score": pa.array(score, pa.float64(), mask=~known),
        "threshold": pa.array([columns.threshold] * total, pa.float64()),
        "flag": pa.nulls(total, pa.bool_()) if flag is None else pa.array(flag, pa.bool_(), mask=~known),
        "label": by_row("labels", pa.string()),
        "confidence": by_row("confidence", pa.float64()),
    }
    width = len(columns.features)
    values = np.concatenate([np.frombuffer(rows.features, dtype=np.float64).reshape(-1, width) for rows in found])
    for j, name in enumerate(columns.features):
        table[name] = pa.array(values[:, j], pa.float64(), from_pandas=True)
    for j, name in enumerate(columns.hashed):
        texts = [None if row is None else row[j] for rows in found for row in rows.hashes or ()]
        table[f"{name}_hash"] = pa.array(texts, pa.string())
    return pa.table(table)
