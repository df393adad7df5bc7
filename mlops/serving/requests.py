"""What a caller may send, checked by the model's signature before anything is computed.

Decoding and checking are one pass of msgspec over a type that is made for the signature. Only when it refuses, the
document is looked at once more, to say what was wrong in words.

One rule: nothing is cast. A text is no number, a boolean is no number, an unknown field is no typing error to overlook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import numpy as np

from mlops.serving import wrong_requests
from mlops.serving.compiled_form import Floats
from mlops.serving.errors import RequestError

Entity = str | int
_LONGEST = 512  # characters of an entity
_NAME = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_WHOLE = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what the log and the stores can hold
_ENTITY = Annotated[str, msgspec.Meta(max_length=_LONGEST)] | _WHOLE | float  # in JSON 7.0 is a whole number
_COMMON: list[tuple[str, Any, Any]] = [
    ("model", str | None, None),
    ("request_id", _NAME | None, None),
    ("unit", _NAME | None, None),
    ("contributions", bool, False),
]
_NOT_JSON = "NaN and Infinity are no JSON; null says that a value is not known."


def is_entity(value: object) -> bool:
    """Whether a JSON value can name an entity."""
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request.

    Exactly one of `rows` and `keys` is there: features, or entities whose features are to be looked up.
    """

    rows: Floats | None  # shape (n, features), NaN where null
    keys: list[Entity] | None
    entities: list[Entity | None]  # shape (n,)
    event_at: list[datetime | None]  # shape (n,)
    model: str | None = None
    request_id: str | None = None
    unit: str | None = None
    contributions: bool = False

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.entities)


class Signature:
    """The signature of a model: which features a row has, and what it is about.

    Args:
        features: names, in the order of the model.
        entity: name of the key that features are looked up by.
        per_entity: whether a row needs its entity beside its features.
    """

    def __init__(self, features: Sequence[str], entity: str, *, per_entity: bool) -> None:
        self.features = tuple(features)
        self.entity = entity
        self.per_entity = per_entity
        names = [f"f{i}" for i in range(len(self.features))]
        row: Any = msgspec.defstruct(
            "Features",
            [(name, float | None) for name in names],
            rename=dict(zip(names, self.features, strict=True)),
            forbid_unknown_fields=True,
            gc=False,
        )
        one = msgspec.defstruct(
            "One",
            [*_COMMON, ("features", row | None, None), ("entity", _ENTITY | None, None),
             ("event_timestamp", datetime | None, None)],
            forbid_unknown_fields=True,
        )  # fmt: skip
        width = msgspec.Meta(min_length=len(names), max_length=len(names))
        data = list[Annotated[list[float | None], width]]
        batch = msgspec.defstruct(
            "Batch",
            [
                *_COMMON,
                ("rows", list[row] | None, None),
                ("columns", list[str] | None, None),
                ("data", data | None, None),
                ("entities", list[_ENTITY] | None, None),
                ("event_timestamps", list[datetime | None] | None, None),
            ],
            forbid_unknown_fields=True,
        )
        self._one: Any = msgspec.json.Decoder(one)
        self._batch: Any = msgspec.json.Decoder(batch)
        self._tuple = msgspec.structs.astuple

    def one(self, body: bytes) -> Asked:
        """The request for one row.

        Raises:
            RequestError: 400 no JSON, 422 not by the signature.
        """
        found = self._decoded(self._one, body)
        entity = _whole(found.entity, "entity") if type(found.entity) is float else found.entity
        if found.features is None:
            if entity is None:
                raise self._neither("features", "entity")
            rows, keys = None, [entity]
        else:
            if self.per_entity and entity is None:
                raise self._needs_entity()
            rows, keys = np.array([self._tuple(found.features)], dtype=np.float64), None
            if np.isinf(rows).any():
                raise self._infinite(rows)
        if found.event_timestamp is not None:
            _check_times([found.event_timestamp])
        return Asked(
            rows,
            keys,
            [entity],
            [found.event_timestamp],
            found.model,
            found.request_id,
            found.unit,
            found.contributions,
        )

    def batch(self, body: bytes, *, max_rows: int) -> Asked:
        """The request for several rows.

        Raises:
            RequestError: 400 no JSON, 413 too many rows, 422 not by the signature.
        """
        found = self._decoded(self._batch, body, max_rows=max_rows)
        given = [name for name in ("rows", "data") if getattr(found, name) is not None]
        if len(given) > 1 or not (given or found.entities is not None):
            raise self._neither("rows (or columns and data)", "entities")
        if found.columns is not None and found.data is None:
            raise RequestError(422, "columns: came without data, expected both or neither.")
        size = len(getattr(found, given[0]) if given else found.entities)
        if size > max_rows:
            raise RequestError(
                413,
                f"{size:,} rows came, at most {max_rows:,} are taken at once.",
                hint="Send them in several requests.",
            )
        if size == 0:
            raise RequestError(422, "No row came, expected at least one.")
        for name in ("entities", "event_timestamps"):
            if (other := getattr(found, name)) is not None and len(other) != size:
                raise RequestError(422, f"{name}: {len(other):,} came for {size:,} rows.")
        _check_times(found.event_timestamps or ())
        entities = [
            _whole(each, f"entities[{i}]") if type(each) is float else each
            for i, each in enumerate(found.entities or ())
        ]
        rows = self._rows(found, given[0]) if given else None
        if rows is not None and self.per_entity and found.entities is None:
            raise self._needs_entity()
        return Asked(
            rows,
            None if given else list(entities),
            entities or [None] * size,
            found.event_timestamps or [None] * size,
            found.model,
            found.request_id,
            found.unit,
            found.contributions,
        )

    def _rows(self, found: Any, form: str) -> Floats:
        if form == "rows":
            rows = np.array([self._tuple(row) for row in found.rows], dtype=np.float64)
        else:
            order = self._order(found.columns)
            rows = np.ascontiguousarray(np.array(found.data, dtype=np.float64)[:, order])
        if np.isinf(rows).any():
            raise self._infinite(rows)
        return rows

    def _order(self, columns: list[str] | None) -> list[int]:
        if columns is None:
            raise RequestError(422, "columns: missing, expected the names of the columns of data.")
        if problems := wrong_requests.first(wrong_requests.names(set(columns), self.features, "columns")):
            raise RequestError(422, f"The columns are not those of the model: {' '.join(problems)}", problems=problems)
        if len(columns) != len(self.features):
            raise RequestError(422, f"columns: {len(columns)} names came, expected {len(self.features)}, each once.")
        return [columns.index(name) for name in self.features]

    def _decoded(self, decoder: Any, body: bytes, *, max_rows: int | None = None) -> Any:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._explained(body, str(error), max_rows) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(400, f"The body is no JSON: {error}.", hint=_NOT_JSON) from error
        except RecursionError as error:
            raise RequestError(400, "The JSON is nested too deeply.", hint="Expected: two levels.") from error

    def _explained(self, body: bytes, said: str, max_rows: int | None) -> RequestError:
        """What was wrong with a document that is no request, in words."""
        said = wrong_requests.shown(said, 200)
        try:
            document = msgspec.json.decode(body)
        except msgspec.ValidationError:  # a number beyond all floats, which only the first pass can place
            return RequestError.of((f"{said}; expected a finite number.",))
        except (msgspec.DecodeError, RecursionError) as error:
            return RequestError(400, f"The body is no JSON that can be read: {error}.", hint=_NOT_JSON)
        batch = max_rows is not None
        found = wrong_requests.problems(document, self.features, batch=batch, max_rows=max_rows or 1)
        return RequestError.of(found or (f"{said}.",))

    def _infinite(self, rows: Floats) -> RequestError:
        i, j = np.argwhere(np.isinf(rows))[0]
        problem = f"{self.features[j]} of row {i}: expected a finite number, one beyond all floats came."
        return RequestError.of((problem,))

    def _needs_entity(self) -> RequestError:
        return RequestError(
            422, f"entity: missing; the model has one model per {self.entity}, expected whose row it is."
        )

    def _neither(self, features: str, entity: str) -> RequestError:
        return RequestError(
            422, f"Expected {features}, or {entity} to look features of {self.entity} up by; neither or both came."
        )


def _whole(number: float, where: str) -> int:
    """A whole number that was written with a point.

    Raises:
        RequestError: 422 it is none.
    """
    if not number.is_integer() or not is_entity(int(number)):
        raise RequestError.of((f"{where}: expected a text or a whole number of 64 bits, {number} came.",))
    return int(number)


def _check_times(moments: Sequence[datetime | None]) -> None:
    """Times that have no name in UTC are refused, before they stand in a log that nobody can read.

    Raises:
        RequestError: 422 an offset moves a time out of the years 1 to 9999.
    """
    for i, moment in enumerate(moments):
        if moment is not None and moment.tzinfo is not None and moment.year in (1, 9999):
            try:
                moment.astimezone(UTC)
            except OverflowError as error:
                said = f"expected a time of the years 1 to 9999 in UTC, {moment.isoformat()} came."
                raise RequestError.of((f"event_timestamp of row {i}: {said}",)) from error
