"""Feast's own web page over the registry: entities, views, services and how they hang together.

One rule: the page shows and changes nothing; what is declared stands in the files of the feature repository.
"""

from __future__ import annotations

from typing import Any

from mlops import log
from mlops.errors import FeatureError
from mlops.features.store import FeatureStore

_log = log.get(__name__)

_READING = ("GET", "HEAD", "OPTIONS")


def serve(store: FeatureStore, *, host: str, port: int) -> None:
    """Register what the repository declares, as far as it can be, then serve the page until the process is ended.

    Args:
        store: the feature store.
        host: address to listen on.
        port: port to listen on.
    """
    import uvicorn

    uvicorn.run(application(store), host=host, port=port, log_level="warning")


def application(store: FeatureStore) -> Any:
    """The page and the API that it reads, as an ASGI application that refuses everything but reading."""
    from fastapi import Request
    from fastapi.responses import JSONResponse
    from feast.ui_server import get_app

    try:
        store.apply()
    except FeatureError as error:  # what was registered before can still be looked at
        _log.error("the feature repository could not be registered  %s", error)
    feast = store._feast
    app = get_app(feast, feast.project)

    async def only_read(request: Request, call_next: Any) -> Any:
        if request.method not in _READING:
            detail = "This page only shows. Change the files of the feature repository, then run the features step."
            return JSONResponse({"detail": detail}, status_code=403)
        return await call_next(request)

    app.middleware("http")(only_read)
    return app
