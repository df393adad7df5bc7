"""What a published table vouches for, and the Parquet file that carries it in its own footer.

One rule: the content hash depends on names, types and values, never on how rows lie in chunks or files.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops.errors import StorageError

_MANIFEST = b"mlops.manifest"
ROWS_PER_GROUP = 131_072  # of a file: readers hold whole groups in memory


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a published table vouches for."""

    rows: int
    schema: dict[str, str]  # column name -> Arrow type
    content_hash: str  # sha256 over the values, see `content_hash`; with shards over their hashes
    facts: dict[str, str] = field(default_factory=dict)
    shards: tuple[str, ...] = ()  # files below the table's folder that hold its rows; empty: the table's file does


def content_hash(table: pa.Table) -> str:
    """sha256 over column names, types and values in row order; independent of chunking and of what lies behind nulls.

    >>> a = pa.table({"x": pa.chunked_array([[1, None], [3]])}); b = pa.table({"x": [1, None, 3]})
    >>> content_hash(a) == content_hash(b)
    True
    """
    return digest_of(table.num_rows, table.schema, lambda name: iter(table[name].chunks))


def digest_of(rows: int, schema: pa.Schema, chunks: Callable[[str], Iterator[pa.Array]]) -> str:
    """The `content_hash` of a table that is read a column at a time.

    Args:
        rows: of the table.
        schema: of the table.
        chunks: the values of a column in order; each column is read twice.
    """
    digest = hashlib.sha256(str(rows).encode())
    for name, held in zip(schema.names, schema.types, strict=True):
        kind = held.value_type if pa.types.is_dictionary(held) else held
        digest.update(f"|{name}:{kind}|".encode())
        for chunk in chunks(name):
            digest.update(pc.is_null(chunk).to_numpy(zero_copy_only=False).tobytes())
        for chunk in chunks(name):
            valid = (chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk).drop_null()
            if pa.types.is_primitive(kind):
                digest.update(valid.to_numpy(zero_copy_only=False).tobytes())
                continue
            for value in valid.to_pylist():
                encoded = str(value).encode()
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def microseconds(table: pa.Table) -> pa.Table:
    """The table with all its timestamps in microseconds."""
    fields = [
        f.with_type(pa.timestamp("us", f.type.tz)) if pa.types.is_timestamp(f.type) and f.type.unit != "us" else f
        for f in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata), safe=False)


def manifest_of(metadata: dict[bytes, bytes] | None, path: str) -> Manifest:
    raw = (metadata or {}).get(_MANIFEST)
    if raw is None:
        raise StorageError(
            f"{path} has no manifest.",
            hint="It was not published by this project; write it through `Storage.write_table`.",
        )
    body = json.loads(raw)
    shards = tuple(body.get("shards", ()))
    return Manifest(body["rows"], body["schema"], body["content_hash"], body["facts"], shards)


def parquet(table: pa.Table, manifest: Manifest) -> bytes:
    """The table as a Parquet file that carries its manifest."""
    buffer = io.BytesIO()
    sealed = table.replace_schema_metadata(sealed_schema(table.schema, manifest).metadata)
    pq.write_table(sealed, buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
    return buffer.getvalue()


def sealed_schema(schema: pa.Schema, manifest: Manifest) -> pa.Schema:
    """The schema of a file that carries its manifest."""
    body = asdict(manifest)
    if not manifest.shards:
        del body["shards"]
    kept = {k: v for k, v in (schema.metadata or {}).items() if k != b"pandas"}
    return schema.with_metadata(kept | {_MANIFEST: json.dumps(body, sort_keys=True).encode()})
