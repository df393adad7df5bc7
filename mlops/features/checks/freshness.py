"""Freshness: the newest reading of a view is no older than its features live."""

from __future__ import annotations

from datetime import datetime, timedelta

from mlops.features.definitions import ViewInfo
from mlops.records import GateResult

_HOUR = timedelta(hours=1)


def freshness(
    view: ViewInfo, newest: datetime | None, *, as_of: datetime, stale: int = 0, sampled: int = 0
) -> GateResult:
    """The newest reading of a view is no older than its time to live.

    Args:
        view: which.
        newest: when its newest reading happened (zoned); None without any.
        as_of: the moment at which it should be fresh (zoned).
        stale: entities past their time to live among those looked at; told, it decides nothing: one can fall silent.
        sampled: entities looked at.

    Returns:
        value: age of the newest reading [h]; limit: the time to live [h]. Cannot tell without a reading.
    """
    name = f"fresh:{view.name}"
    numbers = {"stale_entities": float(stale), "sampled_entities": float(sampled)} if sampled else {}
    if newest is None:
        return GateResult(name, "cannot_tell", f"View {view.name} holds no reading.", numbers=numbers)
    age = (as_of - newest) / _HOUR
    told = f" {stale:,} of {sampled:,} entities looked at are past it." if sampled and view.ttl else ""
    reading = f"The newest reading of view {view.name}, of {newest:%Y-%m-%d %H:%M} UTC, is {age:.1f} h old"
    if not view.ttl:
        return GateResult(name, "pass", f"{reading}; its features live for ever.", age, None, numbers)
    limit = view.ttl / _HOUR
    if newest < as_of - view.ttl:
        reason = f"{reading}, its features live {limit:g} h: every one is past it, and serving has none.{told}"
        return GateResult(name, "fail", reason, age, limit, numbers)
    return GateResult(name, "pass", f"{reading}, its features live {limit:g} h.{told}", age, limit, numbers)
