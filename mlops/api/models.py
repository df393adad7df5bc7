"""`/models`: where the models stand, for a browser; the Airflow UI shows it under *Models*.

Whoever mounts the application says who may see what: it is asked before every page. Kept reports may hold what came
with the data, so they are shown in a sandbox: without the address's cookies, and without a network.

One rule: every route reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException as Refused

from mlops.errors import MLOpsError, NoDataError
from mlops.pipelines import models_page, overview
from mlops.services import Services
from mlops.spec import ModelSpec

Sees = Callable[[str], bool]  # whether a model may be seen
MOST_NIGHTS = 366
_OWN = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_KEPT = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval' data: blob:"
)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def application(services: Callable[[], Services], sees: Callable[[Request], Awaitable[Sees]]) -> FastAPI:
    """The pages as an application of their own, to be mounted somewhere.

    Args:
        services: opens the adapters; called for every page, so that a new spec is there at once.
        sees: what the caller of a request may see.

    Raises (as answers): 401 and 403 as `sees` raises them; 404 for what is not there or may not be seen.
    """
    app = FastAPI(title="Models", docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> HTMLResponse:
        title = {401: "Log in first", 403: "You may not see this", 404: "Not found"}.get(error.status_code, "Refused")
        return _page(models_page.refusal(title, str(error.detail)), status=error.status_code)

    @app.exception_handler(MLOpsError)
    async def broken(_: Request, error: MLOpsError) -> HTMLResponse:
        return _page(models_page.refusal("This cannot be shown", str(error)), status=503)

    @app.get("/")
    @app.get("/models/")
    async def to_models(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/models")

    @app.get("/models")
    async def models(request: Request) -> HTMLResponse:
        seen = await sees(request)
        return _page(await run_in_threadpool(_index, services(), seen))

    @app.get("/dags/{dag_id}")
    async def of_dag(request: Request, dag_id: str) -> RedirectResponse:
        """From a DAG to its model, as the tab on a DAG's page asks."""
        name = dag_id.partition("__")[2]
        return RedirectResponse(f"{request.scope.get('root_path', '')}/models{'/' + name if name else ''}")

    @app.get("/models/{model}")
    async def model(
        request: Request, model: str, nights: Annotated[int, Query(ge=1, le=MOST_NIGHTS)] = overview.NIGHTS
    ) -> HTMLResponse:
        seen = await sees(request)
        return _page(await run_in_threadpool(_model, services(), model, seen, nights))

    @app.get("/models/{model}/{day}/{name}")
    async def report(request: Request, model: str, day: date, name: str) -> HTMLResponse:
        seen = await sees(request)
        return await run_in_threadpool(_report, services(), model, seen, day, name)

    return app


def _index(services: Services, sees: Sees) -> str:
    shown, broken = [], []
    for name in filter(sees, _names(services)):
        try:
            shown.append(overview.overview(services, services.spec(name)))
        except MLOpsError as error:
            broken.append(f"{name}: {error}")
    return models_page.index(shown, at=services.clock(), broken=broken)


def _model(services: Services, model: str, sees: Sees, last: int) -> str:
    spec = _visible(services, model, sees)
    found = overview.overview(services, spec)
    nights = overview.nights(services, spec, found.reigns, last)
    more = min(MOST_NIGHTS, last * 4) if len(nights) == last < MOST_NIGHTS else 0
    return models_page.model(found, nights, at=services.clock(), more=more)


def _report(services: Services, model: str, sees: Sees, day: date, name: str) -> HTMLResponse:
    spec = _visible(services, model, sees)
    try:
        kept = overview.report_page(services, spec, day, name)
    except NoDataError as error:
        raise HTTPException(404, str(error)) from error
    return HTMLResponse(kept, headers=_HEADERS | {"Content-Security-Policy": _KEPT})


def _visible(services: Services, model: str, sees: Sees) -> ModelSpec:
    """The spec of a model that may be seen; one that may not is as if it were not there."""
    if model in _names(services) and sees(model):
        return services.spec(model)
    raise HTTPException(404, f"There is no model {model!r}, or you may not see it.")


def _names(services: Services) -> list[str]:
    return sorted(path.stem for path in services.config.models_dir.glob("*.yaml"))


def _page(html: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(html, status, headers=_HEADERS | {"Content-Security-Policy": _OWN})
