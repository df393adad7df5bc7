"""The composition root: the one place where settings become adapters.

Pipelines receive `Services`; tests build one on a temporary folder. Every adapter is opened when it is first used, so a
step that needs no MLflow does not pay for importing it.

One rule: nothing here decides anything.
"""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.attempt import Attempt
from mlops.config import MLOpsConfig
from mlops.spec import ModelSpec, find_spec, load_specs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from mlops.data.label_store import LabelStore
    from mlops.experiments.bandit_store import BanditStore
    from mlops.experiments.tracking import ExperimentTracker
    from mlops.features.store import FeatureStore
    from mlops.governance.database import Database
    from mlops.governance.heartbeat import Heartbeat
    from mlops.governance.leases import Leases
    from mlops.governance.ledger import Ledger
    from mlops.models.registry import ModelRegistry
    from mlops.monitoring.alerts import Alerts
    from mlops.monitoring.step_log import StepLog
    from mlops.storage import Storage

RUN_LEASE_SECONDS = 60.0  # how long an open run outlives a process that nobody can ask (another host, cut off)
RUN_WAIT_SECONDS = 30.0  # how long a second process waits for the first; then Airflow tries again later


def utc_now() -> datetime:
    """The wall clock, for records only; what a step computes depends on its date alone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services:
    """The adapters of one installation.

    Args:
        config: the settings.
        clock: the time that is written into records.
    """

    config: MLOpsConfig
    clock: Callable[[], datetime] = utc_now

    @classmethod
    def open(cls, config: MLOpsConfig | None = None) -> Services:
        """Services for `config`, by default the settings of this process."""
        config = config or MLOpsConfig.load()
        offset = timedelta(seconds=config.clock_offset_seconds)
        return cls(config, (lambda: utc_now() + offset) if offset else utc_now)

    @property
    def actor(self) -> str:
        """Who decides, as the ledger names them."""
        return self.config.actor or getpass.getuser()

    @cached_property
    def code_version(self) -> str:
        """The git commit of the code, with `-dirty` if it was changed since; "unknown" outside a checkout."""
        if self.config.code_version:
            return self.config.code_version
        command = [
            "git",
            "-C",
            str(Path(__file__).parent),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except OSError:
            return "unknown"
        return found.stdout.strip() or "unknown"

    @cached_property
    def storage(self) -> Storage:
        """Tables and files."""
        from mlops.storage import Storage

        return Storage(self.config.var)

    @property
    def spark(self) -> SparkSession:
        """The Spark session of this process."""
        from mlops.engines import spark_session

        return spark_session(self.config)

    @cached_property
    def leases(self) -> Leases:
        """Leases that guard what must not run twice at once."""
        from mlops.governance.leases import Leases

        return Leases(self.config.ledger_url)

    @cached_property
    def ledger(self) -> Ledger:
        """What was decided, by whom and on what evidence."""
        from mlops.governance.ledger import Ledger
        from mlops.governance.ledger_keys import LedgerKeys

        path = self.config.ledger_key_file
        made_here = path == self.config.state_dir / "keys" / "ledger.key"  # a key that was asked for must be there
        return Ledger(self.config.ledger_url, LedgerKeys(path, make=made_here))

    @cached_property
    def labels(self) -> LabelStore:
        """Labels that people give, with their history."""
        from mlops.data.label_store import GUARDS, TABLES, LabelStore
        from mlops.governance.database import Database

        url, setting = self.config.labels_url, "MLOPS_LABELS_URL"
        return LabelStore(Database(url, TABLES, GUARDS, what="label store", setting=setting))

    @cached_property
    def bandits(self) -> BanditStore:
        """Rewards of bandits, in the ledger's database."""
        from mlops.experiments.bandit_store import TABLES, BanditStore
        from mlops.governance.database import Database

        return BanditStore(Database(self.config.ledger_url, TABLES, {}, what="bandit store"))

    @cached_property
    def features(self) -> FeatureStore:
        """Feast."""
        from mlops.features.store import FeatureStore

        return FeatureStore.open(self.config, self.storage)

    @cached_property
    def tracker(self) -> ExperimentTracker:
        """MLflow runs."""
        from mlops.experiments.tracking import ExperimentTracker

        return ExperimentTracker(
            self.config, code_version=self.code_version, guard=self._guard, keeper=self._keeper, clock=self.clock
        )

    @cached_property
    def attempt(self) -> Attempt:
        """Who this process is, to those who wait for what it holds."""
        return Attempt.current(self.actor, self.config.variables)

    def _guard(self, name: str) -> AbstractContextManager[object]:
        """A lease around what must not be created twice. A second process waits longer than a dead one can hold it."""
        holder, supersedes = str(self.attempt), self.attempt.supersedes
        return self.leases.hold(name, holder, 30, wait_seconds=40, supersedes=supersedes)

    def _keeper(self, name: str) -> AbstractContextManager[Heartbeat]:
        """A lease for as long as a task is at work, taken over at once from an earlier try or a dead process."""
        from mlops.governance.heartbeat import keep

        return keep(
            self.leases,
            name,
            str(self.attempt),
            RUN_LEASE_SECONDS,
            wait_seconds=RUN_WAIT_SECONDS,
            supersedes=self.attempt.supersedes,
        )

    @cached_property
    def registry(self) -> ModelRegistry:
        """MLflow's model registry."""
        from mlops.models.registry import ModelRegistry

        return ModelRegistry(self.config, guard=self._guard)

    @cached_property
    def alerts(self) -> Alerts:
        """Incidents and the channels that tell of them."""
        from mlops.monitoring.alerts import Alerts

        return Alerts(self._monitored, settings=self.config.channels, variables=self.config.variables, clock=self.clock)

    @cached_property
    def step_log(self) -> StepLog:
        """How the steps of each model ended last."""
        from mlops.monitoring.step_log import StepLog

        return StepLog(self._monitored)

    @cached_property
    def _monitored(self) -> Database:
        from mlops.governance.database import Database
        from mlops.monitoring.incident_tables import STATEMENTS, TABLES
        from mlops.monitoring.step_log import STEP_TABLES

        url, setting = self.config.incidents_url, "MLOPS_INCIDENTS_URL"
        return Database(url, (*TABLES, *STEP_TABLES), STATEMENTS, what="incident store", setting=setting)

    def spec(self, model: str) -> ModelSpec:
        """The spec of one model."""
        return find_spec(self.config.models_dir, model, self.config.variables)

    def specs(self) -> dict[str, ModelSpec]:
        """All specs."""
        return load_specs(self.config.models_dir, self.config.variables)
