"""The OpenAPI document of all routes, by the models that are served.

What a request may say depends on the model that it names: the document has one form per model, and the first model's
is the one that needs no name. What JSON Schema cannot say (lists of equal length, columns of a table) is said in words,
and refused with 422.

One rule: what is said of a request is made from the signature that the request is checked by.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mlops.serving.invocations import FORMS
from mlops.serving.served import Served
from mlops.serving.service import Service

_WHOLE = {"minimum": -(2**63), "maximum": 2**63 - 1}
_NUMBER = {"type": ["number", "null"], "description": "null: not known; the model puts its median there."}
_TEXT = {"type": ["string", "null"], "minLength": 1, "maxLength": 128}
_KEY = {"type": ["string", "integer"], "maxLength": 512} | _WHOLE
_TIME = {"type": ["string", "null"], "format": "date-time", "description": "Without a zone: UTC."}
_NULL = {"type": "null"}
_REFUSALS = {
    400: "No JSON.",
    404: "No such model, or nothing is known of the entity.",
    405: "Not a POST.",
    409: "The entity's features are past their time to live.",
    413: "Too many bytes or rows.",
    415: "Another content type.",
    422: "Not by the model's signature; `problems` names the fields.",
    429: "Too much is waiting; `Retry-After` says when to come back.",
    503: "No version answers yet, or the online store does not.",
}
_MODEL = {
    "name": "model",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "Name of the model, instead of `model` in the body. Default: the first that is served.",
}


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """The OpenAPI document; of the models' features as they are now."""
    made = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name, served in service.models.items():
        schemas[f"Features_{name}"] = _features(served)
        first = served is next(iter(service.models.values()))
        schemas[f"Row_{name}"] = _one(name, served, first=first)
        schemas[f"Rows_{name}"] = _many(name, served, service.limits.max_rows, first=first)
    paths = made["paths"]
    paths["/predict"] = _post("One row: features, or an entity to look them up by", _any_of(service, "Row"))
    paths["/predict/batch"] = _post(
        "Several rows: as objects, as a table, or the entities to look them up by",
        _any_of(service, "Rows"),
        also={"predictions": {"type": "array"}},
    )
    paths["/invocations"] = _invocations()
    return made


def _any_of(service: Service, kind: str) -> dict[str, Any]:
    """The forms of all models."""
    forms = [{"$ref": f"#/components/schemas/{kind}_{name}"} for name in service.models]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _features(served: Served) -> dict[str, Any]:
    names = served.live.signature.features if served.live else ()
    return {
        "type": "object",
        "properties": dict.fromkeys(names, _NUMBER),
        "required": list(names),
        "additionalProperties": not names,
    }


def _common(name: str, *, first: bool) -> dict[str, Any]:
    return {
        "model": {"enum": [name, None] if first else [name]},
        "request_id": _TEXT,
        "unit": _TEXT | {"description": "What a variant is chosen by. Default: the entity, or the request id."},
        "contributions": {"type": "boolean", "default": False},
    }


def _one(name: str, served: Served, *, first: bool) -> dict[str, Any]:
    """A request for one row: its features, or whose they are."""
    row = {"$ref": f"#/components/schemas/Features_{name}"}
    common = _common(name, first=first) | {"event_timestamp": _TIME}
    needs = [] if first else ["model"]
    whose = served.live is not None and served.live.signature.per_entity
    entity = _KEY if whose else {"anyOf": [_KEY, _NULL]}
    needed = [*needs, "features", *(["entity"] if whose else [])]
    forms = [_object(common | {"features": row, "entity": entity}, needed)]
    if served.fetch is not None:
        forms.append(_object(common | {"features": _NULL, "entity": _KEY}, [*needs, "entity"]))
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _many(name: str, served: Served, max_rows: int, *, first: bool) -> dict[str, Any]:
    """A request for several rows: objects, a table, or whose they are. All lists that come are of one length."""
    names = list(served.live.signature.features) if served.live else []
    bounds = {"minItems": 1, "maxItems": max_rows}
    width = {"minItems": len(names), "maxItems": len(names)} if names else {}
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/Features_{name}"}} | bounds
    columns = {"type": "array", "items": {"enum": names}, "uniqueItems": True} | width if names else {"type": "array"}
    data = {"type": "array", "items": {"type": "array", "items": _NUMBER} | width} | bounds
    keys = {"type": "array", "items": _KEY, "description": "As many as rows."} | bounds
    times = {"type": ["array", "null"], "items": _TIME, "description": "As many as rows."}
    common = _common(name, first=first) | {"event_timestamps": times}
    needs = [] if first else ["model"]
    whose = served.live is not None and served.live.signature.per_entity
    beside = {"entities": keys if whose else {"anyOf": [keys, _NULL]}}
    needs_whose = [*needs, "entities"] if whose else needs
    forms = [
        _object(common | beside | {"rows": rows, "columns": _NULL, "data": _NULL}, [*needs_whose, "rows"]),
        _object(common | beside | {"columns": columns, "data": data, "rows": _NULL}, [*needs_whose, "columns", "data"]),
    ]
    if served.fetch is not None:
        nothing = {"rows": _NULL, "columns": _NULL, "data": _NULL}
        forms.append(_object(common | nothing | {"entities": keys}, [*needs, "entities"]))
    return {"anyOf": forms}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _post(summary: str, schema: dict[str, Any], also: dict[str, Any] | None = None) -> dict[str, Any]:
    about = {
        "request_id": {"type": "string"},
        "model": {"type": "string"},
        "version": {"type": "integer"},
        "variant": {"type": "string"},
        "threshold": {"type": ["number", "null"]},
    }
    said = also or {"score": {"type": ["number", "null"], "description": "null: cannot tell."}}
    reply = {
        "type": "object",
        "properties": about | said,
        "required": ["request_id", "model", "version", "variant", *said],
    }
    return {
        "post": {
            "summary": summary,
            "parameters": [_MODEL],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {"200": _json("Answered.", reply)} | refusals(),
        }
    }


def _invocations() -> dict[str, Any]:
    split = {"type": "object", "required": ["columns", "data"]}
    forms = {name: split if name == "dataframe_split" else {"type": ["array", "object"]} for name in FORMS}
    schema = {"type": "object", "properties": forms, "oneOf": [{"required": [name]} for name in forms]}
    body = {"application/json": {"schema": schema}, "text/csv": {"schema": {"type": "string"}}}
    reply = {"type": "object", "properties": {"predictions": {"type": "array"}}, "required": ["predictions"]}
    return {
        "post": {
            "summary": "Rows, as clients of MLflow's scoring server send them",
            "parameters": [_MODEL],
            "requestBody": {"required": True, "content": body},
            "responses": {"200": _json("Answered.", reply)} | refusals(),
        }
    }


def refusals(*statuses: int) -> dict[int | str, Any]:
    """What the routes say instead of an answer; by default all of it."""
    refusal = {
        "type": "object",
        "properties": {
            "detail": {"type": "string"},
            "request_id": {"type": "string"},
            "problems": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["detail"],
    }
    return {str(status): _json(_REFUSALS[status], refusal) for status in statuses or _REFUSALS}


def _json(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}
