"""The maintenance DAG: it ends what was left open and looks after the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlops.services import Services

pytestmark = pytest.mark.dags


def test_a_run_that_was_left_open_is_ended_by_maintenance(
    write_spec: Callable[..., Any], parse: Callable[[], Any]
) -> None:
    """After a kill without a retry nothing stays RUNNING for longer than a day; the ledger is found whole."""
    write_spec("fleet")
    services = Services.open()
    number = services.tracker.client.create_experiment("fleet")
    left = services.tracker.client.create_run(number, tags={"mlops.run_key": "fleet/training/2026-03-01/ecod"})
    result = parse().dags["maintenance"].test()
    states = {task.task_id: str(task.state) for task in result.get_task_instances()}
    assert states == dict.fromkeys(states, "success")
    assert {"reap", "verify_ledger"} <= set(states)
    assert services.tracker.client.get_run(left.info.run_id).info.status == "KILLED"
