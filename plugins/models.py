"""*Models* in the Airflow UI: a page of all models, and a tab on the page of every DAG for its model.

A model is seen by whoever may read its DAG `monitoring__<model>`, by Airflow's own rules.

One rule: every process of Airflow imports this file, so what the pages need is imported when the first is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

_PREFIX = "/mlops"
_BASE = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]


class ModelPages:
    """The pages, as an ASGI application that is made when it is first called."""

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer a request."""
        await self._application(scope, receive, send)

    @cached_property
    def _application(self) -> Any:
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
        from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
        from fastapi import Request

        from mlops.api.models import Sees, application
        from mlops.services import Services

        async def sees(request: Request) -> Sees:
            user = await get_user(request, None, await bearer_scheme(request))
            manager = get_auth_manager()

            def one(model: str) -> bool:
                details = DagDetails(id=f"monitoring__{model}")
                return bool(manager.is_authorized_dag(method="GET", details=details, user=user))

            return one

        return application(Services.open, sees)


class ModelsPlugin(AirflowPlugin):  # type: ignore[misc] # Airflow is not type-checked here
    """What Airflow looks for."""

    name = "mlops_models"
    fastapi_apps = [{"app": ModelPages(), "url_prefix": _PREFIX, "name": "Models"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": "Models", "href": f"{_BASE}{_PREFIX}/models", "destination": "nav", "url_route": "models"},
        {"name": "Model", "href": f"{_BASE}{_PREFIX}/dags/{{DAG_ID}}", "destination": "dag", "url_route": "model"},
    ]
