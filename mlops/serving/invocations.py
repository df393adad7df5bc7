"""MLflow's scoring protocol, so that clients of `mlflow models serve` work unchanged.

As there, columns beyond the model's are dropped; unlike there, a text is no number, a field that a record lacks is
missing, and a column that comes twice is refused.

References:
    MLflow, "Deploy MLflow Model as a Local Inference Server": /invocations accepts dataframe_split, dataframe_records,
    instances, inputs, and CSV.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any

import msgspec
import numpy as np

from mlops.serving import replies
from mlops.serving.errors import RequestError
from mlops.serving.requests import Asked, Signature, is_entity
from mlops.serving.served import Live
from mlops.serving.work import Done
from mlops.serving.wrong_requests import came, first, not_a_number, shown

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def asked(body: bytes, content_type: str, live: Live, *, max_rows: int, request_id: str) -> Asked:
    """The rows that a client of MLflow sends, as a version reads them.

    Raises:
        RequestError: 400 not to be read, 413 too many rows, 415 another content type, 422 not by the signature.
    """
    signature = live.signature
    kind = content_type.partition(";")[0].strip().lower()
    read: Callable[[Any], Any]
    if kind == "text/csv":
        columns, data, read = *_csv(body, max_rows), _cell
    elif kind in ("application/json", ""):
        columns, data, read = *_json(body, signature, max_rows), _same
    else:
        raise RequestError(415, f"The content type is {shown(content_type)!r}, expected application/json or text/csv.")
    if not data:
        raise RequestError(422, "No row came, expected at least one.")
    _refuse_many(len(data), "rows", max_rows)
    return _by_signature(columns, data, signature, request_id, read)


def reply(live: Live, done: Done) -> bytes:
    """The answers, as MLflow's server gives those of the same model."""
    answers, names = done.answers, live.predictor.scorer.classes
    rows = []
    for i, score in enumerate(answers.score):
        said: dict[str, Any] = {"score": None if isnan(score) else score}
        if answers.flag is not None:
            said["flag"] = answers.flag[i]
        if answers.label is not None and answers.probabilities is not None:
            said["label"] = answers.label[i]
            for name, p in zip(names, answers.probabilities[i], strict=True):
                said[f"proba_{name:g}" if isinstance(name, float) else f"proba_{name}"] = p
        rows.append(said)
    return replies.encode({"predictions": rows})


def _json(body: bytes, signature: Signature, max_rows: int) -> tuple[Sequence[str], list[Any]]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"The body is no JSON: {error}.") from error
    except RecursionError as error:
        raise RequestError(400, "The JSON is nested too deeply.") from error
    given = [name for name in FORMS if isinstance(document, dict) and name in document]
    if len(given) != 1:
        raise RequestError(422, f"Expected an object with one of {', '.join(FORMS)}; {len(given)} of them came.")
    value = document[given[0]]
    if given[0] == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise RequestError(422, "dataframe_split: expected an object with columns and data.")
        return _columns(value.get("columns")), value["data"]
    if isinstance(value, dict):
        return _from_columns(value, given[0])
    if isinstance(value, list):
        _refuse_many(len(value), "rows", max_rows)
        if value and all(isinstance(row, dict) for row in value):
            return _from_records(value, given[0], signature)
        if given[0] != "dataframe_records":
            return signature.features, value
    raise RequestError(422, f"{given[0]}: expected a list of objects, {came(value)} came.")


def _columns(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise RequestError(422, "dataframe_split.columns: expected a list of names.")
    return value


def _from_columns(value: dict[str, Any], form: str) -> tuple[Sequence[str], list[Any]]:
    lists = [each if isinstance(each, list) else [each] for each in value.values()]
    if len({len(each) for each in lists}) > 1:
        raise RequestError(422, f"{form}: its columns are of different lengths.")
    return list(value), [list(row) for row in zip(*lists, strict=True)]


def _from_records(value: list[dict[str, Any]], form: str, signature: Signature) -> tuple[Sequence[str], list[Any]]:
    """Of each object what the model needs. What an object lacks is missing; that it is not known, null would say."""
    names: Sequence[str] = signature.features
    lacking = ((i, name) for i, row in enumerate(value) for name in names if name not in row)
    if problems := first(f"{form}[{i}].{name}: missing, expected a number or null." for i, name in lacking):
        raise RequestError.of(problems)
    if signature.entity not in names and any(signature.entity in row for row in value):
        names = (*names, signature.entity)
    return names, [[row.get(name) for name in names] for row in value]


def _csv(body: bytes, max_rows: int) -> tuple[Sequence[str], list[Any]]:
    """A table with a head. Text is all that CSV has: here it is read as numbers, once its columns are known."""
    _refuse_many(max(0, body.count(b"\n") - 1), "lines", max_rows)
    try:
        rows = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(400, f"The body is no CSV: {error}.") from error
    return (rows[0] if rows else []), rows[1:]


def _cell(text: str) -> Any:
    """What a cell says: null if it is empty, a number if it is written as one, else the text.

    Python reads "1_000" and "١" as numbers too; whoever wrote them may have meant something else.
    """
    text = text.strip()
    if not text or text.lower() == "nan":
        return None
    return float(text) if _NUMBER.fullmatch(text) else text


def _same(value: Any) -> Any:
    return value


def _refuse_many(count: int, what: str, most: int) -> None:
    if count > most:
        raise RequestError(413, f"{count:,} {what} came, at most {most:,} are taken at once.")


def _by_signature(
    columns: Sequence[str], data: list[Any], signature: Signature, request_id: str, read: Callable[[Any], Any]
) -> Asked:
    where = {name: at for at, name in enumerate(columns)}
    missing = [name for name in signature.features if name not in where]
    if missing:
        raise RequestError.of(first(f"{name}: missing, expected a column of numbers." for name in missing))
    if len(where) < len(columns):
        twice = next(name for at, name in enumerate(columns) if where[name] != at)
        raise RequestError.of((f"{shown(twice)}: the column came more than once, expected it once.",))
    places = [where[name] for name in signature.features]
    found = []
    for i, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            given = len(row) if isinstance(row, list) else came(row)
            raise RequestError.of((f"Row {i}: expected {len(columns)} values, {given} came.",))
        values = [read(row[at]) for at in places]
        for name, value in zip(signature.features, values, strict=True):
            if said := not_a_number(value):
                raise RequestError.of((f"{name} of row {i}: {said}",))
        found.append(values)
    rows = np.array(found, dtype=np.float64)
    if np.isinf(rows).any():
        i, j = np.argwhere(np.isinf(rows))[0]
        said = f"{signature.features[j]} of row {i}: expected a finite number, an infinite one came."
        raise RequestError.of((said,))
    return Asked(rows, None, _entities(data, where, signature), [None] * len(data), request_id=request_id)


def _entities(data: list[Any], where: Mapping[str, int], signature: Signature) -> list[Any]:
    """Whose rows they are, by the column of that name; None where there is none."""
    name = signature.entity
    if name not in where or name in signature.features:
        if signature.per_entity:
            raise RequestError(422, f"{name}: missing; the model has one model per {name}.")
        return [None] * len(data)
    entities = [row[where[name]] for row in data]
    entities = [int(e) if isinstance(e, float) and e.is_integer() else e for e in entities]
    for i, entity in enumerate(entities):
        if entity is not None and not is_entity(entity):
            raise RequestError.of((f"{name} of row {i}: expected a text or a whole number, {came(entity)} came.",))
    return entities
