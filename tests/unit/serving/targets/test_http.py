"""What a service says over HTTP, read: whether it is well, and why not."""

from __future__ import annotations

from mlops.serving.targets.http import Reply, problem


def test_a_service_whose_stores_are_away_is_still_well() -> None:
    """What it can answer counts, not whether all its stores are there; without a version, the reason is told."""
    away = {"answering": True, "ready": False, "models": {"pumps": {"version": 3, "registry": "does not answer"}}}
    assert problem(Reply(503, away)) == ""
    none = {"answering": False, "ready": False, "models": {"pumps": {"problem": "there is no champion yet"}}}
    assert problem(Reply(503, none)) == "/health says 503 (pumps: there is no champion yet)"
    assert problem(Reply(502, None)) == "/health says 502"
