"""The Airflow settings that let tasks outlive an outage are shipped, on one machine and in compose."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.services import RUN_LEASE_SECONDS
from mlops.standalone import airflow_environment

ROOT = Path(__file__).parents[2]
HEARTBEAT_SECONDS = 5  # Airflow's own [workers] min_heartbeat_interval
OUTAGE_SECONDS = 75


@pytest.fixture(params=["standalone", "compose"])
def settings(request: pytest.FixtureRequest, config: MLOpsConfig) -> dict[str, str]:
    """Airflow's environment as it is shipped."""
    if request.param == "standalone":
        return airflow_environment(config)
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return {key: str(value) for key, value in compose["services"]["worker"]["environment"].items()}


def test_a_task_outlives_an_api_server_that_is_away_for_75_seconds(settings: dict[str, str]) -> None:
    """Airflow's default of three missed heartbeats would kill every running task after 15 s, and burn its retries."""
    patience = int(settings["AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS"]) * HEARTBEAT_SECONDS
    assert patience > OUTAGE_SECONDS
    dead_after = int(settings["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])
    assert patience < dead_after < 300  # not declared dead while it still tries; retried before Airflow's default


def test_a_retry_comes_before_anybody_has_to_wait_for_a_lease(settings: dict[str, str]) -> None:
    """When the scheduler retries a task whose worker vanished, the lease of the vanished one has run out."""
    assert int(settings["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"]) > RUN_LEASE_SECONDS


def test_retries_are_not_burnt_in_seconds(settings: dict[str, str]) -> None:
    """Two retries, each at least half a minute later."""
    assert int(settings["AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY"]) >= 30
