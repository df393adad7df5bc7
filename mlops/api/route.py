"""`GET /api/route?user_id=…&experiment=…`: which variant and version a unit meets.

A router for whatever application serves; it is given the function that hands out the routing table.

One rule: asking changes nothing, and the same question has the same answer in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from mlops.errors import ConfigError
from mlops.records import as_plain
from mlops.serving.routing import RoutingTable, assign


def answer(table: RoutingTable, user_id: str, experiment: str, variant: str = "") -> dict[str, Any]:
    """The assignment as JSON values.

    Raises:
        ConfigError: no such experiment is running, or it has no such variant.
    """
    return as_plain(assign(table.route(experiment), user_id, force=variant))


def router(table: Callable[[], RoutingTable]) -> APIRouter:
    """The routes.

    Args:
        table: hands out the present table, such as a `TableReader`.
    """
    routes = APIRouter(tags=["routing"])

    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "No such experiment, or it has no such variant."}}

    @routes.get("/api/route", summary="Which variant a unit meets", responses=unknown)
    def route(
        user_id: Annotated[str, Query(min_length=1, max_length=512, description="Whom the answer is for.")],
        experiment: Annotated[str, Query(min_length=1, max_length=64, description="Name of a running experiment.")],
        variant: Annotated[
            str, Query(max_length=64, description="Force a variant, for testing; it does not count.")
        ] = "",
    ) -> dict[str, Any]:
        try:
            return answer(table(), user_id, experiment, variant)
        except ConfigError as error:
            raise HTTPException(status_code=404, detail=str(error)) from error

    return routes
