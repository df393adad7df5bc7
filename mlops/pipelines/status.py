"""Where a model stands, for a person: champion, last training, data, predictions, incidents."""

from __future__ import annotations

from typing import Any

from mlops.data import partitions
from mlops.errors import LedgerError
from mlops.pipelines import approval
from mlops.services import Services
from mlops.spec import ModelSpec


def status_of(services: Services, spec: ModelSpec) -> dict[str, Any]:
    """The facts of `mlops status <model>`, in the order a person asks for them."""
    champion = services.registry.by_alias(spec.name, "champion")
    history = services.ledger.history(spec.name)
    days = partitions.delivered_days(services.storage, spec.dataset)
    predicted = services.storage.partitions(services.storage.uri("predictions", spec.name))
    versions = services.registry.versions(spec.name)
    return {
        "owner": spec.owner,
        "champion": f"version {champion.version} ({champion.candidate})" if champion else "none yet",
        "champion_since": history[-1].at.isoformat(timespec="seconds") if champion and history else None,
        "why": history[-1].body["reason"] if champion and history else None,
        "waiting_for_approval": [f"version {p.version}: {p.state.reason}" for p in approval.pending(services, spec)],
        "versions": [f"{v.version} {v.stage} {v.candidate}" for v in versions[-5:]],
        "validated_deliveries": f"{days[0]} to {days[-1]}, {len(days)} days" if days else "none yet",
        "newest_predictions": predicted[-1] if predicted else None,
        "incidents": _incidents(services, spec),
        "ledger": _chain(services),
    }


def _incidents(services: Services, spec: ModelSpec) -> list[str]:
    """What is not over, else the last that are; or why that cannot be told."""
    try:
        found = services.alerts.list_incidents(spec.name)
    except LedgerError as error:
        return [f"cannot be told: {error}"]
    shown = [one for one in found if one.state != "resolved"] or found[-3:]
    return [
        f"{one.number}  {one.date} {one.urgency if one.state == 'open' else one.state} {one.kind}: {one.summary}"
        for one in shown
    ]


def _chain(services: Services) -> str:
    """Whether the ledger is what it was, in a line."""
    found = services.ledger.check()
    if found.verdict == "whole":
        return f"{found.entries} entries, chain whole"
    return "; ".join((*found.problems, *found.unknown))
