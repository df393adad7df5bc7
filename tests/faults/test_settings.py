"""The Airflow settings that let tasks outlive an outage are shipped, on one machine and in compose."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlops.airflow_settings import airflow_environment
from mlops.config import MLOpsConfig
from mlops.services import RUN_LEASE_SECONDS

ROOT = Path(__file__).parents[2]
OUTAGE_SECONDS = 75
WORKERS = "AIRFLOW__WORKERS__"


@pytest.fixture(params=["standalone", "compose"])
def settings(request: pytest.FixtureRequest, config: MLOpsConfig) -> dict[str, str]:
    """Airflow's environment as it is shipped."""
    if request.param == "standalone":
        return airflow_environment(config)
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return {key: str(value) for key, value in compose["services"]["worker"]["environment"].items()}


def test_a_task_outlives_an_api_server_that_is_away_for_75_seconds(settings: dict[str, str]) -> None:
    """Airflow's own settings repeat a call for some 8 s, and kill a task after three heartbeats that failed so.

    The pause before each further try is drawn from 0 to the maximum, so their sum is their number times half of it,
    give or take (Airflow's task SDK, `Client.request`).
    """
    longest = float(settings[f"{WORKERS}EXECUTION_API_RETRY_WAIT_MAX"])
    assert float(settings[f"{WORKERS}EXECUTION_API_RETRY_WAIT_MIN"]) == longest  # else the pauses only grow to it
    pauses = int(settings[f"{WORKERS}EXECUTION_API_RETRIES"]) - 1
    patience, spread = pauses * longest / 2, (pauses / 12) ** 0.5 * longest
    assert patience - 3 * spread > OUTAGE_SECONDS
    assert settings[f"{WORKERS}MAX_FAILED_HEARTBEATS"] == "1"  # a heartbeat that failed has been tried for that long
    dead_after = int(settings["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])
    assert patience + 2 * spread < dead_after < 300  # it is not tried again beside itself; and before Airflow's default


def test_a_retry_comes_before_anybody_has_to_wait_for_a_lease(settings: dict[str, str]) -> None:
    """When the scheduler retries a task whose worker vanished, the lease of the vanished one has run out."""
    assert int(settings["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"]) > RUN_LEASE_SECONDS


def test_retries_are_not_burnt_in_seconds(settings: dict[str, str]) -> None:
    """Two retries, each at least half a minute later."""
    assert int(settings["AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY"]) >= 30
