"""The environment of Airflow's processes: what is shipped with this installation, and why.

One rule: Airflow is set by environment variables alone; no `airflow.cfg` is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from pydantic import BaseModel

from mlops import credentials
from mlops.config import MLOpsConfig
from mlops.credentials import USER
from mlops.health import HOST

PARALLEL_TASKS = 4


def airflow_environment(config: MLOpsConfig) -> dict[str, str]:
    """The environment variables that Airflow needs for this installation, to be laid over those of the process.

    `mlops up`, the demo and the tests all use these, so that a DAG meets the same settings everywhere.
    """
    home = config.state_dir / "airflow"
    own = {f"MLOPS_{key.upper()}": _written(getattr(config, key)) for key in type(config).model_fields}
    del own["MLOPS_VARIABLES"]
    path = config.variables.get("PYTHONPATH", "")
    return {key: value for key, value in own.items() if value} | {
        "PYTHONPATH": os.pathsep.join([str(config.home), *([path] if path else [])]),  # DAG files import `dags.factory`
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(config.home / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(config.home / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLEL_TASKS),  # the default forks 32 idle workers
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # a paused DAG would break the chain of Assets
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "30",  # [s]; a person is watching
        "AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES_REGEXP": r"mlops\..*",  # records, should one pass through XCom
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",  # [s]; a new file is seen after this, not after 5 minutes
        # Without API server a task's every call, heartbeats too, is repeated for 2 minutes (docs/faults.md), not 8 s.
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "48",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MIN": "5",  # [s]
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "5",  # [s]
        "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "1",  # a heartbeat that failed has been tried for that long
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "150",  # [s]; longer than that, shorter than 5 minutes
        # A scheduler that was slow or suspended for 30 s would take itself for dead, and all running tasks from itself.
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "150",  # [s]
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(config.state_dir / "logs" / "tasks"),
        # MLflow's model flavours walk all modules and so set off a thousand deprecation warnings of Airflow's.
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "py.warnings=ERROR airflow.serialization=WARNING",
        "OMP_NUM_THREADS": config.variables.get("OMP_NUM_THREADS") or "1",  # tasks run side by side, a core each
        "MLFLOW_CONFIGURE_LOGGING": "0",  # it writes to standard error, which Airflow shows as errors
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",
        "DO_NOT_TRACK": "1",  # Evidently
    }


def _written(value: object) -> str:
    """A setting as an environment variable says it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return json.dumps(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)


def platform_environment(config: MLOpsConfig, airflow_port: int, settings: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the platform's processes.

    Args:
        config: the settings.
        airflow_port: port of Airflow's UI and API.
        settings: laid over those of `airflow_environment`.
    """
    shipped = airflow_environment(config) | dict(settings)
    return dict(config.variables) | shipped | _of_the_platform(config, airflow_port)


def _of_the_platform(config: MLOpsConfig, airflow_port: int) -> dict[str, str]:
    """What only the running platform needs: address, login and secrets."""
    url = f"http://{HOST}:{airflow_port}"
    kept = credentials.keys(config)
    return {
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(credentials.passwords_file(config)),
        "AIRFLOW__CORE__FERNET_KEY": kept["fernet_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt_secret"],
        "AIRFLOW__API__SECRET_KEY": kept["api_secret_key"],
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "NO_PROXY": ",".join(filter(None, [config.variables.get("NO_PROXY"), HOST, "localhost"])),
        "MLOPS_PDEATHSIG": "1",  # plugins/listener.py: a task does not outlive its supervisor
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 3.7 GB of job workers otherwise
    }
