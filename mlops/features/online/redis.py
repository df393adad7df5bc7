"""Feast's Redis online store, that never puts an older reading in place of a newer one, and that fails fast.

Hashes are Feast's own, and Feast reads them. One more field per view says which reading is held, to the microsecond, so
that of two versions of one reading the one known later stays. A script in Redis compares and writes, so nothing can
come between; the commands are laid out a column at a time and sent as they are, a hundred entities each.

redis-py tries a dead server again and again, for 5 to 14 s per call. Here a call ends after one try.

One rule: who waits for Redis knows for how long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.helpers import _mmh3, _redis_key_prefix
from feast.infra.online_stores.redis import (
    RedisOnlineStore,
    RedisOnlineStoreConfig,
    RedisType,
    _versioned_fv_name,
)
from pydantic import PositiveFloat

from mlops.features.online.encoding import EncodedRows, encode_messages, joined, timestamp_messages

_ENTITIES_PER_COMMAND = 100  # about a millisecond in which Redis serves nobody else
_COMMANDS_PER_TRIP = 50
_KEYS_PER_SCAN = 10_000

# KEYS: entities. ARGV: fields f, seconds to live, force, time field, reading field, f feature fields, then for each
# entity its reading ("event known origin"), Feast's time message and f values.
_SCRIPT = """
local f, ttl, force = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local at, written = 5 + f, 0
for _, key in ipairs(KEYS) do
  local new = ARGV[at + 1]
  local held = redis.call('HMGET', key, ARGV[4], ARGV[5])
  local newer = true
  if not force and held[1] and held[2] then
    local event, known = string.match(new, '^(-?%d+) (-?%d+)')
    local held_event, held_known = string.match(held[2], '^(-?%d+) (-?%d+)')
    event, known, held_event, held_known = tonumber(event), tonumber(known), tonumber(held_event), tonumber(held_known)
    newer = event > held_event or (event == held_event and known >= held_known)
  end
  if newer then
    local pairs = {ARGV[4], ARGV[at + 2], ARGV[5], new}
    for i = 1, f do
      pairs[3 + 2 * i] = ARGV[5 + i]
      pairs[4 + 2 * i] = ARGV[at + 2 + i]
    end
    redis.call('HSET', key, unpack(pairs))
    if ttl > 0 then redis.call('EXPIRE', key, ttl) end
    written = written + 1
  end
  at = at + 2 + f
end
return written
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest().encode()


class GuardedRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]  # feast is untyped
    """What `online_store:` may say in feature_store.yaml."""

    type: Literal["mlops.features.online.redis.GuardedRedisOnlineStore"] = (
        "mlops.features.online.redis.GuardedRedisOnlineStore"
    )
    timeout_seconds: PositiveFloat = 0.4
    """How long a read waits for the connection, and then for an answer."""
    write_timeout_seconds: PositiveFloat = 10.0
    """How long a write waits for an answer."""


class GuardedRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]  # feast is untyped
    """Feast finds it by the name in feature_store.yaml; signatures of the methods that it calls are Feast's."""

    _client: Any = None
    _client_async: Any = None
    _write_client: Any = None
    _versioned_read_supported = True  # else the first read imports the clients of every store there is, to find out

    # --- what Feast calls -------------------------------------------------------------------------------------------

    def _get_client(self, online_store_config: Any) -> Any:
        if not self._client:
            self._client = self._connect(online_store_config, online_store_config.timeout_seconds)
        return self._client

    async def _get_client_async(self, online_store_config: Any) -> Any:
        if not self._client_async:
            timeout = online_store_config.timeout_seconds
            bounded = online_store_config.model_copy(
                update={"connection_string": _with_timeouts(online_store_config.connection_string, timeout)}
            )
            client = await super()._get_client_async(bounded)
            client.set_retry(_one_try(asynchronous=True))
        return self._client_async

    def delete_table(self, config: Any, table: Any) -> None:
        """Delete a view's values, and what is known of its deliveries."""
        super().delete_table(config, table)
        self._get_client(config.online_store).delete(_windows(config, table))

    def online_write_batch(self, config: Any, table: Any, data: Any, progress: Any) -> None:
        """Write rows that are newer than what is held, or as new."""
        for rows in encode_messages(data):
            self.write(config, table, rows)
        if progress:
            progress(len(data))

    async def online_write_batch_async(self, config: Any, table: Any, data: Any, progress: Any) -> None:
        """The same, for who awaits it; the write itself is quick and blocks."""
        self.online_write_batch(config, table, data, progress)

    # --- what materialisation and push call -------------------------------------------------------------------------

    def write(self, config: Any, view: Any, rows: EncodedRows, *, force: bool = False) -> int:
        """Write the rows whose reading is newer than the one held, or the same.

        Args:
            config: `feast.RepoConfig`.
            view: the registered `feast.FeatureView`.
            rows: at most one per entity.
            force: also where a newer reading is held.

        Returns:
            how many were written.
        """
        head, body = _head(config, view, rows, force=force), _body(rows)
        if config.online_store.redis_type == RedisType.redis_cluster:
            return self._write_one_by_one(config, rows, head, body)
        return sum(self._send(config, trip) for trip in _trips(config.project, rows, head, body))

    def windows(self, config: Any, view: Any) -> dict[str, str]:
        """The deliveries that are in: date -> content hash."""
        found = self._writer(config).hgetall(_windows(config, view))
        return {day.decode(): content.decode() for day, content in found.items()}

    def set_windows(self, config: Any, view: Any, done: Mapping[str, str]) -> None:
        """Remember that deliveries are in."""
        if done:
            self._writer(config).hset(_windows(config, view), mapping=dict(done))

    def entities_from(self, config: Any, view: Any, origins: Sequence[str]) -> list[bytes]:
        """Keys of the entities whose reading came from one of `origins`. Looks at every key of the view's entity."""
        client, wanted = self._writer(config), {origin.encode() for origin in origins}
        project, field = config.project.encode(), _reading(config, view)
        pattern = _escaped(_redis_key_prefix(view.join_keys)) + b"*" + _escaped(project)
        found: list[bytes] = []
        keys: list[bytes] = []

        def look() -> None:
            with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hget(key, field)
                held = pipe.execute()
            found.extend(
                key.removesuffix(project)
                for key, reading in zip(keys, held, strict=True)
                if reading and reading.split(b" ", 2)[2] in wanted
            )
            keys.clear()

        for key in client.scan_iter(pattern, count=_KEYS_PER_SCAN):
            keys.append(key)
            if len(keys) >= _KEYS_PER_SCAN:
                look()
        look()
        return found

    def forget(self, config: Any, view: Any, keys: Sequence[bytes]) -> None:
        """Drop all that is held of some entities in this view."""
        name = _versioned_fv_name(view, config)
        fields = [_mmh3(f"{name}:{field.name}") for field in view.features] + [f"_ts:{name}", _reading(config, view)]
        with self._writer(config).pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hdel(key + config.project.encode(), *fields)
            pipe.execute()

    def _writer(self, config: Any) -> Any:
        if self._write_client is None:
            self._write_client = self._connect(config.online_store, config.online_store.write_timeout_seconds)
        return self._write_client

    def _connect(self, settings: Any, timeout: float) -> Any:
        """A client of its own; what the connection string says of time-outs wins."""
        bounded = settings.model_copy(
            update={"connection_string": _with_timeouts(settings.connection_string, timeout, settings.timeout_seconds)}
        )
        client = RedisOnlineStore()._get_client(bounded)
        client.set_retry(_one_try())
        return client

    def _write_one_by_one(self, config: Any, rows: EncodedRows, head: list[bytes], body: list[pa.BinaryArray]) -> int:
        """A cluster keeps each entity where its key says; a command may name one key."""
        from redis.exceptions import NoScriptError

        client, written = self._writer(config), 0
        for key, *values in zip(*(column.to_pylist() for column in (rows.keys, *body)), strict=True):
            place = key + config.project.encode()
            try:
                written += client.evalsha(_SHA.decode(), 1, place, *head, *values)
            except NoScriptError:
                written += client.eval(_SCRIPT, 1, place, *head, *values)
        return written

    def _send(self, config: Any, trip: Sequence[bytes]) -> int:
        from redis.exceptions import NoScriptError

        pool = self._writer(config).connection_pool
        connection = pool.get_connection()
        try:
            try:
                return _sent(connection, trip)
            except NoScriptError:  # Redis was started anew
                connection.send_command("SCRIPT", "LOAD", _SCRIPT)
                connection.read_response()
                return _sent(connection, trip)
        except BaseException:
            connection.disconnect()  # answers may be under way
            raise
        finally:
            pool.release(connection)


def _head(config: Any, view: Any, rows: EncodedRows, *, force: bool) -> list[bytes]:
    """The first arguments of the script."""
    name = _versioned_fv_name(view, config)
    live = config.online_store.key_ttl_seconds or 0
    numbers = [str(number).encode() for number in (len(rows.values), live, int(force))]
    return [*numbers, f"_ts:{name}".encode(), _reading(config, view), *(_mmh3(f"{name}:{f}") for f in rows.values)]


def _body(rows: EncodedRows) -> list[pa.BinaryArray]:
    """The arguments of each entity."""
    event, known = (pa.array(times).cast(pa.string()).cast(pa.binary()) for times in (rows.event, rows.known))
    reading = joined(event, b" ", known, b" ", rows.origin)
    return [reading, timestamp_messages(rows.event), *rows.values.values()]


def _trips(project: str, rows: EncodedRows, head: list[bytes], body: list[pa.BinaryArray]) -> Iterator[list[bytes]]:
    """The calls of the script as Redis reads them, some dozen at a time: what is sent before answers are awaited."""
    keys = _Laid.out(_bulk(joined(rows.keys, project.encode())))
    values = _Laid.out(joined(*(_bulk(column) for column in body)))
    fixed = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in head)
    trip: list[bytes] = []
    for start in range(0, len(rows), _ENTITIES_PER_COMMAND):
        stop = min(start + _ENTITIES_PER_COMMAND, len(rows))
        count = stop - start
        words = 3 + count + len(head) + count * len(body)
        call = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$%d\r\n%d\r\n" % (words, _SHA, len(str(count)), count)
        trip.append(b"".join([call, keys.bytes_of(start, stop), fixed, values.bytes_of(start, stop)]))
        if len(trip) == _COMMANDS_PER_TRIP:
            yield trip
            trip = []
    if trip:
        yield trip


@dataclass(frozen=True)
class _Laid:
    """A column of bytes, one value after another."""

    data: memoryview
    offsets: list[int]

    @classmethod
    def out(cls, column: pa.BinaryArray) -> _Laid:
        _, offsets, data = column.buffers()
        where = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
        return cls(memoryview(data or b""), where.tolist())

    def bytes_of(self, start: int, stop: int) -> memoryview:
        """The values from `start` to before `stop`."""
        return self.data[self.offsets[start] : self.offsets[stop]]


def _bulk(column: pa.BinaryArray) -> pa.BinaryArray:
    """Each value as a bulk string of the Redis protocol."""
    lengths = pc.binary_length(column).cast(pa.string()).cast(pa.binary())
    return joined(b"$", lengths, b"\r\n", column, b"\r\n")


def _sent(connection: Any, trip: Sequence[bytes]) -> int:
    """Send some calls, then read all their answers; the first that is an error is raised."""
    from redis.exceptions import ResponseError

    connection.send_packed_command(trip, check_health=False)
    written, refused = 0, None
    for _ in trip:
        try:
            written += connection.read_response()
        except ResponseError as error:
            refused = refused or error
    if refused:
        raise refused
    return written


def _windows(config: Any, view: Any) -> str:
    return f"mlops:windows:{config.project}:{_versioned_fv_name(view, config)}"


def _reading(config: Any, view: Any) -> bytes:
    return f"_reading:{_versioned_fv_name(view, config)}".encode()


def _escaped(text: bytes) -> bytes:
    """A text as a SCAN pattern that matches it alone."""
    return b"".join(b"\\" + bytes([c]) if bytes([c]) in b"*?[]\\^-" else bytes([c]) for c in text)


def _with_timeouts(connection_string: str, answer: float, connect: float | None = None) -> str:
    given = {part.split("=", 1)[0] for part in connection_string.split(",") if "=" in part}
    wanted = {"socket_timeout": answer, "socket_connect_timeout": answer if connect is None else connect}
    return ",".join([connection_string, *(f"{name}={value}" for name, value in wanted.items() if name not in given)])


def _one_try(*, asynchronous: bool = False) -> Any:
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return (AsyncRetry if asynchronous else Retry)(NoBackoff(), 0)
