"""Feature rows in the form in which Feast's online stores keep them, made a column at a time.

Feast makes a protobuf message per value: twelve million objects for a million entities, which is where its time and its
gigabytes go. The bytes of these messages are simple enough to be laid out by NumPy; they are the same bytes, and Feast
reads them.

One rule: what is encoded here is byte for byte what Feast would have written.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DOUBLE, _INT64 = 0x29, 0x20  # tags of `double_val` and `int64_val` in feast.types.Value
_SECONDS, _NANOS = 0x08, 0x10  # tags in google.protobuf.Timestamp
_KEY_VERSION = 3


@dataclass(frozen=True)
class EncodedRows:
    """Rows of one view, at most one per entity."""

    keys: pa.BinaryArray  # Feast's entity keys, shape (n,)
    event: Ints  # when the reading happened [µs since 1970], shape (n,)
    known: Ints  # when it became known [µs since 1970], shape (n,)
    values: dict[str, pa.BinaryArray]  # by feature: `feast.types.Value`, empty for null; shape (n,) each
    origin: pa.BinaryArray  # where the row comes from: a delivery and its content, or empty; shape (n,)

    def __len__(self) -> int:
        return len(self.keys)

    def slice(self, start: int, length: int) -> EncodedRows:
        """Some of the rows, without a copy."""
        part = slice(start, start + length)
        values = {name: column.slice(start, length) for name, column in self.values.items()}
        keys, origin = self.keys.slice(start, length), self.origin.slice(start, length)
        return EncodedRows(keys, self.event[part], self.known[part], values, origin)


def encode(table: pa.Table, view: Any, origin: pa.BinaryArray | None = None) -> EncodedRows:
    """The rows of a table, of several rows of one entity the newest: latest event, of these the latest known.

    Args:
        table: entity columns, event and created time of the view's source, features; shape (n, ≥ 3).
        view: the registered `feast.FeatureView`.
        origin: where each row comes from, shape (n,); default: nowhere that can be named.
    """
    source = view.batch_source
    event = microseconds(table[source.timestamp_field])
    known = microseconds(table[source.created_timestamp_column]) if source.created_timestamp_column else event
    rows = EncodedRows(
        keys=_entity_keys(table, view),
        event=event,
        known=known,
        values={field.name: _values(table[field.name], field.dtype.to_value_type()) for field in view.features},
        origin=_nowhere(len(table)) if origin is None else origin,
    )
    return newest(rows)


def encode_messages(data: Sequence[tuple[Any, dict[str, Any], datetime, datetime | None]]) -> list[EncodedRows]:
    """Rows as Feast hands them to an online store, grouped by the features they carry.

    Args:
        data: entity key, features, event time and created time of each row; a time without zone is UTC.
    """
    from feast.infra.key_encoding_utils import serialize_entity_key

    groups: dict[tuple[str, ...], list[tuple[bytes, list[bytes], int, int]]] = {}
    for key, values, event, created in data:
        names = tuple(values)
        happened = _since_epoch(event)
        row = (
            serialize_entity_key(key, entity_key_serialization_version=_KEY_VERSION),
            [value.SerializeToString() for value in values.values()],
            happened,
            _since_epoch(created) if created is not None else happened,
        )
        groups.setdefault(names, []).append(row)
    found = []
    for names, rows in groups.items():
        keys = pa.array([row[0] for row in rows], pa.binary())
        columns = {name: pa.array([row[1][i] for row in rows], pa.binary()) for i, name in enumerate(names)}
        times = (np.array([row[2] for row in rows]), np.array([row[3] for row in rows]))
        found.append(newest(EncodedRows(keys, *times, columns, _nowhere(len(rows)))))
    return found


def newest(rows: EncodedRows) -> EncodedRows:
    """One row per entity: the latest event, of these the latest known, of these the last."""
    codes = pc.dictionary_encode(rows.keys)
    if len(codes.dictionary) == len(rows):
        return rows
    entity = codes.indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((rows.known, rows.event, entity))
    last = order[np.append(entity[order][1:] != entity[order][:-1], True)]
    kept = pa.array(np.sort(last))
    values = {name: column.take(kept) for name, column in rows.values.items()}
    return EncodedRows(rows.keys.take(kept), rows.event[kept], rows.known[kept], values, rows.origin.take(kept))


def microseconds(times: pa.ChunkedArray | pa.Array) -> Ints:
    """Timestamps as integers; without zone they are UTC."""
    flat = _flat(times)
    in_us = flat.cast(pa.timestamp("us", flat.type.tz), safe=False)
    return np.asarray(in_us.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def timestamp_messages(times: Ints) -> pa.BinaryArray:
    """`google.protobuf.Timestamp` of each time [µs since 1970]."""
    seconds, rest = np.divmod(times, 1_000_000)
    parts = []
    for tag, numbers in ((_SECONDS, seconds), (_NANOS, rest * 1_000)):
        matrix, lengths = _varints(numbers, tag)
        parts.append(_binary(matrix, np.where(numbers == 0, 0, lengths)))
    return joined(*parts)


def joined(*columns: pa.Array | bytes) -> pa.BinaryArray:
    """Columns and constants, one after another, row by row."""
    given = [pa.scalar(part, pa.binary()) if isinstance(part, bytes) else part for part in columns]
    return pc.binary_join_element_wise(*given, pa.scalar(b"", pa.binary()))


def _entity_keys(table: pa.Table, view: Any) -> pa.BinaryArray:
    """What `feast.infra.key_encoding_utils.serialize_entity_key` makes of each row, version 3."""
    fields = sorted(view.entity_columns, key=lambda field: str(field.name))
    head = struct.pack("<I", len(fields))
    for field in fields:
        name = field.name.encode()
        head += struct.pack("<II", 2, len(name)) + name  # 2: ValueType.STRING
    parts: list[pa.Array | bytes] = [head]
    for field in fields:
        kind = field.dtype.to_value_type()
        value = _flat(table[field.name])
        if kind.name == "INT64":
            numbers = np.ascontiguousarray(value.to_numpy(zero_copy_only=False).astype("<i8"))
            body = _binary(numbers.view(np.uint8).reshape(-1, 8), np.full(len(numbers), 8))
        else:
            body = value.cast(pa.string()).cast(pa.binary())
        lengths = np.ascontiguousarray(pc.binary_length(body).to_numpy(zero_copy_only=False).astype("<u4"))
        parts += [
            struct.pack("<I", kind.value),
            _binary(lengths.view(np.uint8).reshape(-1, 4), np.full(len(lengths), 4)),
            body,
        ]
    return joined(*parts)


def _values(column: pa.ChunkedArray, kind: Any) -> pa.BinaryArray:
    """`feast.types.Value` of each value; null and NaN are an empty message, as Feast has it."""
    flat = _flat(column)
    if kind.name == "DOUBLE" and pa.types.is_float64(flat.type):
        numbers = np.ascontiguousarray(flat.to_numpy(zero_copy_only=False).astype("<f8"))
        matrix = np.empty((len(numbers), 9), dtype=np.uint8)
        matrix[:, 0] = _DOUBLE
        matrix[:, 1:] = numbers.view(np.uint8).reshape(-1, 8)
        return _binary(matrix, np.where(np.isnan(numbers), 0, 9))
    if kind.name == "INT64" and pa.types.is_int64(flat.type):
        matrix, lengths = _varints(flat.fill_null(0).to_numpy(zero_copy_only=False), _INT64)
        return _binary(matrix, np.where(flat.is_valid().to_numpy(zero_copy_only=False), lengths, 0))
    from feast.type_map import python_values_to_proto_values

    messages = python_values_to_proto_values(flat.to_pylist(), kind)
    return pa.array([message.SerializeToString() for message in messages], pa.binary())


def _varints(numbers: Ints, tag: int) -> tuple[Bytes, Ints]:
    """A tag and a protobuf varint per number: bytes, shape (n, 11), and how many of them count, shape (n,)."""
    shifts = np.arange(10, dtype=np.uint64) * np.uint64(7)
    groups = np.right_shift(numbers.astype(np.int64).view(np.uint64)[:, None], shifts)
    lengths = np.maximum((groups != 0).sum(axis=1), 1)
    matrix = np.empty((len(numbers), 11), dtype=np.uint8)
    matrix[:, 0] = tag
    matrix[:, 1:] = (groups & np.uint64(0x7F)).astype(np.uint8)
    matrix[:, 1:] |= np.where(np.arange(10) < (lengths - 1)[:, None], 0x80, 0).astype(np.uint8)
    return matrix, (lengths + 1).astype(np.int64)


def _binary(matrix: Bytes, lengths: npt.NDArray[Any]) -> pa.BinaryArray:
    """The first `lengths[i]` bytes of each row i."""
    ends = np.cumsum(lengths)
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    data = matrix[np.arange(matrix.shape[1]) < lengths[:, None]]
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(matrix), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data.tobytes())]
    )


def _nowhere(rows: int) -> pa.BinaryArray:
    return pa.array([b""] * rows, pa.binary())


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if not isinstance(column, pa.ChunkedArray):
        return column
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) and found.num_chunks else found


def _since_epoch(moment: datetime) -> int:
    zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    delta = zoned - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
