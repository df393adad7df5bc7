"""The routes of the service, as an ASGI application.

What is asked a thousand times a second (`/predict`, `/predict/batch`, `/invocations`) is answered straight from the
connection; the rest is FastAPI. The OpenAPI document covers both (`mlops.api.serving.openapi`).

One rule: this is the one place where an error becomes a status.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from mlops import log
from mlops.api import route
from mlops.api.serving import about, openapi
from mlops.api.serving.worker import Worker
from mlops.errors import MLOpsError
from mlops.serving import invocations, replies
from mlops.serving.errors import RequestError
from mlops.serving.metrics import CONTENT_TYPE
from mlops.serving.service import Service
from mlops.serving.wrong_requests import shown

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_JSON = (b"content-type", b"application/json")
_ID = b"x-request-id"
_PREDICT = ("/predict", "/predict/batch", "/invocations")
_logger = log.get(__name__)


class App:
    """The service of one process.

    Args:
        worker: what it holds; started and stopped by the server's lifespan.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.service: Service = worker.service
        self.rest = _rest(worker)
        self._largest = worker.options.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] in _PREDICT:
            await self._predict(scope, receive, send)
        else:
            await self.rest(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = _given_id(headers) or self.service.new_id()
        extra: list[tuple[bytes, bytes]] = []
        status = 200
        try:
            _refuse_other_methods(scope)
            body = await self._body(headers, receive)
            answer = await self._answer(scope, headers, body, request_id)
        except RequestError as error:
            status, answer = error.status, replies.refusal(error, request_id)
            self.service.metrics.request(error.model, status)
            if status == 405:
                extra.append((b"allow", b"POST"))
            if error.retry_after:
                extra.append((b"retry-after", str(error.retry_after).encode()))
        except _GoneError:
            return
        except Exception:
            _logger.exception("Request %s could not be answered.", request_id)
            status = 500
            answer = replies.refusal(RequestError(500, "The service failed; its log says why."), request_id)
            self.service.metrics.request("", status)
        length = (b"content-length", str(len(answer)).encode())
        start = [_JSON, length, (_ID, request_id.encode()), *extra]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], body: bytes, request_id: str) -> bytes:
        began = time.perf_counter()
        path = scope["path"]
        model = _query(scope, "model") if scope.get("query_string") else None
        if (coded := headers.get(b"content-encoding", b"identity")) not in (b"", b"identity"):
            raise RequestError(415, f"The body is coded by {shown(coded.decode('latin-1'))!r}, expected it as it is.")
        kind = headers.get(b"content-type", b"").decode("latin-1")
        if path == "/invocations":
            served = self.service.model(model)
            most = self.service.limits.max_rows
            read = partial(invocations.asked, body, kind, max_rows=most, request_id=request_id)
            return invocations.reply(*await self.service.answer(served, read, began))
        media = kind.partition(";")[0].strip().lower()
        if media and media != "application/json":
            raise RequestError(415, f"The content type is {shown(media)!r}, expected application/json.")
        if path == "/predict":
            return await self.service.predict(body, request_id, began, model)
        return await self.service.predict_batch(body, request_id, began, model)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body.

        Raises:
            RequestError: 413 it is too large; not more than that is kept.
        """
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told) > self._largest:
            raise self._too_large(int(told))
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._largest:
                raise self._too_large(len(body))
        if message["type"] == "http.disconnect":
            raise _GoneError
        return body

    def _too_large(self, size: int) -> RequestError:
        return RequestError(
            413, f"The body has {size:,} bytes, at most {self._largest:,} are taken.", hint="Send several requests."
        )


class _GoneError(Exception):
    """The caller went away before the request was whole."""


def _refuse_other_methods(scope: Scope) -> None:
    if scope["method"] != "POST":
        raise RequestError(405, f"{scope['path']} takes POST, {scope['method']} came.")


def _given_id(headers: dict[bytes, bytes]) -> str:
    """The id that a caller gave in a header, if it can be one."""
    given = headers.get(_ID, b"")
    return given.decode("ascii") if 0 < len(given) <= 128 and given.isascii() and given.decode().isprintable() else ""


def _query(scope: Scope, name: str) -> str | None:
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get(name)
    return found[0] if found else None


def _rest(worker: Worker) -> FastAPI:
    """All routes that are not asked a thousand times a second."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        await worker.start()
        try:
            yield
        finally:
            await worker.stop()

    app = FastAPI(
        title="mlops serve",
        version="1",
        description="Champions, answering in real time.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    service = worker.service
    model_name = Query(None, description="Name of the model. Default: the first that is served.")

    @app.exception_handler(MLOpsError)
    async def _refused(_: Request, error: Exception) -> JSONResponse:
        status = error.status if isinstance(error, RequestError) else 503
        return JSONResponse({"detail": str(error)}, status_code=status)

    @app.get("/", summary="What is served here")
    async def _root() -> dict[str, Any]:
        return {"models": about.versions(service), "routes": about.routes(app)}

    unready: dict[int | str, dict[str, Any]] = {503: {"description": "No; the body says why"}}

    @app.get("/health", summary="Whether every version answers and every store can be reached", responses=unready)
    async def _health(response: Response) -> dict[str, Any]:
        response.status_code = 200 if worker.ready else 503
        return about.health(worker)

    @app.get("/health/live", summary="Whether the process lives")
    async def _alive() -> dict[str, bool]:
        return {"live": True}

    refused = openapi.refusals(404, 503)

    @app.get("/health/answering", summary="Whether every model has a verified version", responses=unready)
    async def _answering(response: Response) -> dict[str, Any]:
        response.status_code = 200 if worker.answering else 503
        return {"answering": worker.answering, "models": about.versions(service)}

    @app.get("/classes", summary="What a model can answer", responses=refused)
    async def _classes(model: str | None = model_name) -> dict[str, Any]:
        return about.classes(service, service.model(model))

    @app.get("/model/info", summary="The version that answers", responses=refused)
    async def _info(model: str | None = model_name) -> dict[str, Any]:
        return about.info(service, service.model(model))

    @app.get("/metrics", summary="Numbers of all processes, for Prometheus", response_class=Response)
    async def _metrics() -> Response:
        return Response(worker.metrics.exposition(), media_type=CONTENT_TYPE)

    @app.get("/metrics/summary", summary="The same as JSON")
    async def _summary() -> dict[str, Any]:
        return worker.metrics.summary()

    @app.get("/ping", summary="MLflow's health check", response_class=Response, responses={503: {}})
    async def _ping() -> Response:
        return Response("\n", status_code=200 if worker.answering else 503, media_type="application/json")

    @app.get("/version", summary="MLflow's version, as its server tells it", response_class=Response)
    async def _mlflow_version() -> Response:
        return Response(metadata.version("mlflow"), media_type="application/json")

    app.include_router(route.router(worker.table))
    app.openapi = lambda: openapi.document(app, service)  # type: ignore[method-assign]
    return app
