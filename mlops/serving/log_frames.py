"""A prediction as bytes: what the spool holds, frame by frame.

A frame is length, checksum and a msgpack body. A model's frames follow a frame that says what their columns are. One
frame is one request, however many rows it had: features and scores are raw numbers.

One rule: a frame that is not whole is not read, and says so.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

_HEAD = struct.Struct("<II")  # length of the body, its CRC-32


class Columns(msgspec.Struct, array_like=True, tag="c", frozen=True):
    """What the frames with this number hold."""

    number: int
    model: str
    version: int
    entity: str  # name of the entity column
    features: tuple[str, ...]  # those that are kept as numbers
    hashed: tuple[str, ...]  # those kept as keyed hashes, after the numbers
    threshold: float | None
    classes: tuple[str, ...]


class Rows(msgspec.Struct, array_like=True, tag="r"):
    """The rows of one request and what was answered."""

    columns: int  # number of the columns frame
    request_id: str
    variant: str
    at_us: int  # when the answer was ready [µs since 1970]
    latency_us: float  # from the whole request to the ready answer [µs]
    features: bytes  # float64, shape (n, features)
    scores: bytes  # float64, shape (n,)
    entities: list[str | int | None] | None  # shape (n,); None: none was given, or the spec drops it
    event_us: list[int | None] | None = None  # what the caller said of when it happened [µs]
    feature_us: list[int | None] | None = None  # when the features happened [µs]; None: they came with the request
    known_us: list[int | None] | None = None  # when they became known [µs]
    labels: list[str | None] | None = None
    confidence: list[float | None] | None = None  # probability of the label
    hashes: list[list[str | None]] | None = None  # per row, in the order of `hashed`
    experiment: str | None = None  # by which the variant was chosen


Frame = Columns | Rows
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Frame)


def encoded(frame: Frame) -> bytes:
    """A frame as the spool holds it."""
    body = _encoder.encode(frame)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


class TornError(Exception):
    """The rest of a file is no whole frame: whoever wrote it was cut short, or the disk lost it."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} bytes are no whole frame")
        self.left = left  # [bytes]


def frames(data: bytes) -> Iterator[Frame]:
    """The frames of a file.

    Raises:
        TornError: after the last whole one, if there is a rest.
    """
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            raise TornError(len(data) - at)
        length, checksum = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) != length or zlib.crc32(body) != checksum:
            raise TornError(len(data) - at)
        try:
            yield _decoder.decode(body)
        except msgspec.DecodeError as error:
            raise TornError(len(data) - at) from error
        at += _HEAD.size + length
