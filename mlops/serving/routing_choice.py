"""What a serving process asks of the routing table: who answers for a unit, and which versions it has to have loaded.

One rule: a version that is not loaded answers nobody; the champion does, and says so in the log by its variant.
"""

from __future__ import annotations

from collections.abc import Callable

from mlops.serving.routing import RoutingTable
from mlops.serving.served import Choice, Router


def router(model: str, table: Callable[[], RoutingTable]) -> Router:
    """Picks the variant of a unit of a model; None where no experiment has it.

    Args:
        model: whose units.
        table: hands out the present table, such as a `TableReader`.
    """

    def choose(unit: str) -> Choice | None:
        routes = table()
        if not routes.routes or not unit:
            return None
        found = routes.for_unit(model, unit)
        return None if found is None else Choice(found.variant, found.version, found.experiment, found.shadow)

    return choose


def versions(model: str, table: RoutingTable) -> frozenset[int]:
    """The versions of a model that units may meet, or that answer unseen as a shadow."""
    routes = (route for route in table.routes.values() if route.model == model)
    return frozenset(variant.version for route in routes for variant in route.variants)
