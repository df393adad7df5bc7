"""Tables that are larger than memory: written to a file batch by batch, then published like any other.

One rule: whoever reads cannot tell; rows, schema and content hash are those of the same table in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlops.manifest import Manifest, digest_of, sealed_schema
from mlops.storage import TABLE_FILE, Storage

_ROWS_PER_BATCH = 131_072


def publish_batches(
    storage: Storage,
    uri: str,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    facts: Callable[[str], Mapping[str, str]],
) -> Manifest:
    """Publish batches as the whole content of the folder `uri`, replacing what was there; a few of them are in memory.

    Args:
        storage: where.
        uri: the folder.
        schema: of each batch; timestamps in microseconds.
        batches: the rows, in order.
        facts: what the caller vouches for, given the content hash; called when all batches have been read.

    Raises:
        StorageError: it could not be written; what was there before still stands.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-table-") as folder:
        raw, done = Path(folder) / "raw.parquet", Path(folder) / TABLE_FILE
        rows = 0
        with pq.ParquetWriter(raw, schema, compression="zstd") as writer:
            for batch in batches:
                rows += batch.num_rows
                writer.write_batch(batch)
        with pq.ParquetFile(raw) as file:
            found = digest_of(rows, schema, lambda name: _column(file, name))
            kinds = {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
            manifest = Manifest(rows, kinds, found, dict(facts(found)))
            with pq.ParquetWriter(done, sealed_schema(schema, manifest), compression="zstd") as writer:
                for batch in file.iter_batches(_ROWS_PER_BATCH):
                    writer.write_batch(batch)
        storage.upload(done, f"{uri.rstrip('/')}/{TABLE_FILE}")
    return manifest


def _column(file: pq.ParquetFile, name: str) -> Iterator[pa.Array]:
    for batch in file.iter_batches(_ROWS_PER_BATCH, columns=[name]):
        yield batch.column(0)
