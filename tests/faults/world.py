"""A small installation that is put back to what it was before a step, and processes that work in it and are disturbed.

Every piece of work is done in a forked child, so that a SIGKILL is one and nothing is shared with the next try. The
parent has only imported what they need: it opens no database and fits nothing, which would not survive a fork.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.services import Services
from mlops.spec import ModelSpec
from tests.faults.children import ended, fork
from tests.faults.postgres import Postgres

ROOT = Path(__file__).parents[2]
FLEET = fleet.FleetConfig(devices=6, step_minutes=30, faults_per_device_day=1.0)
DAYS = [FLEET.first_day + timedelta(days=i) for i in range(5)]
FIRST, SECOND = DAYS[-2], DAYS[-1]
STEPS = ("prepare", "fit", "select", "validation", "promotion", "rollback")
ROLES = ("champion", "challenger")
# What a disturbed life may have more of: a registration that was cut short is signed by the retry, which says so.
UNCOUNTED = ("signature",)
_UNITS = {"temperature": 150, "pressure": 40, "vibration": 50, "rotation": 5000}
SPEC = {
    "name": "fleet",
    "contract": {
        "columns": {
            n: {"min": -40 if n == "temperature" else 0, "max": m, "max_null_share": 0.5} for n, m in _UNITS.items()
        },
        "min_rows": 10,
        "volume_tolerance": None,
    },
    "split": {"window_days": 3, "holdout_days": 1, "calibration_days": 1, "folds": 0, "gap_hours": 1},
    "candidates": [{"algorithm": "hbos"}, {"algorithm": "pca"}],
}


@dataclass(frozen=True)
class World:
    """One installation below `root`, always at the same path, because MLflow keeps absolute ones.

    Ledger and MLflow are SQLite files below it or, where a server is given, databases of their own there.
    """

    root: Path
    postgres: Postgres | None = None

    @property
    def var(self) -> Path:
        """All state."""
        return self.root / "var"

    def services(self, attempt: int = 1, task: str = "t") -> Services:
        """The adapters, for a try of an Airflow task."""
        variables = {
            **os.environ,
            "AIRFLOW_CTX_DAG_ID": "dag",
            "AIRFLOW_CTX_DAG_RUN_ID": "run",
            "AIRFLOW_CTX_TASK_ID": task,
            "AIRFLOW_CTX_TRY_NUMBER": str(attempt),
        }
        values = {"home": ROOT, "var": str(self.var), "models_dir": self.root / "models", "code_version": "test"}
        if self.postgres:
            values |= {"ledger_url": self.postgres.url("ledger"), "tracking_uri": self.postgres.url("mlflow")}
        return Services.open(MLOpsConfig.build(values, variables))

    def deliver(self) -> None:
        """Write the spec and the deliveries."""
        self.write_spec("fleet")
        for day in DAYS:
            fleet.write_delivery(FLEET, day, f"{self.var}/inbox")

    def write_spec(self, name: str, **changes: Any) -> None:
        """Write the spec of a model, with top-level keys changed."""
        spec = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8")) | SPEC
        spec["gates"] = spec["gates"] | {"floor": 0.0, "min_rows": 10, "min_positives": 1, "budget_slack": 1000.0}
        spec["gates"] |= {"comparison": "non_inferiority", "margin": 0.9, "max_row_latency_ms": 10_000.0}
        (self.root / "models").mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(spec | {"name": name} | changes)
        (self.root / "models" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def keep(self, name: str) -> None:
        """Keep the present state under a name."""
        shutil.copytree(self.var, self.root / "kept" / name)
        if self.postgres:
            self.postgres.keep(name)

    def restore(self, name: str) -> None:
        """Go back to a kept state."""
        shutil.rmtree(self.var, ignore_errors=True)
        shutil.copytree(self.root / "kept" / name, self.var)
        if self.postgres:
            self.postgres.restore(name)

    def mend(self) -> None:
        """Have a database that was lost answer again."""
        if self.postgres:
            self.postgres.mend()

    # --- what tasks hand over ---------------------------------------------------------------------------------------

    def give(self, name: str, value: Any) -> None:
        """Keep what a task returns, as XCom does."""
        (self.var / "xcom").mkdir(exist_ok=True)
        (self.var / "xcom" / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")

    def take(self, name: str) -> Any:
        """What a task has returned."""
        return json.loads((self.var / "xcom" / f"{name}.json").read_text(encoding="utf-8"))


# --- the steps ------------------------------------------------------------------------------------------------------


def work(world: World, services: Services, step: str, day: Any = SECOND) -> None:
    """Do one step, as its Airflow task does."""
    from mlops.pipelines import training
    from mlops.pipelines.tasks import execute
    from mlops.records import RunRecord, TrainingSet, from_dict, to_dict

    spec: ModelSpec = services.spec("fleet")
    if step == "prepare":
        made: list[TrainingSet] = []
        training.prepare_report(services, spec, day, "schedule", made.append, "anna")
        world.give("prepare", to_dict(made[0]))
    elif step == "fit":
        training_set = from_dict(TrainingSet, world.take("prepare"))
        world.give("fit", [to_dict(training.fit(services, spec, training_set, i)) for i in (0, 1)])
    elif step == "select":
        training_set = from_dict(TrainingSet, world.take("prepare"))
        training.select(services, spec, training_set, [from_dict(RunRecord, run) for run in world.take("fit")])
    else:
        options = {"ends": world.take("reign")} if step == "rollback" else {}
        answer = execute(step, services, spec, day, **options)
        assert answer.outcome == "done", answer.reason


def asked(world: World, body: Callable[[], Any]) -> Any:
    """What `body` answers in a child of its own; an error there is one here."""
    answer = world.root / "answer.json"
    for path in (answer, answer.with_suffix(".err")):
        path.unlink(missing_ok=True)
    code = ended(fork(body, answer))
    assert code == 0, answer.with_suffix(".err").read_text(encoding="utf-8") if code == 1 else f"exit code {code}"
    return json.loads(answer.read_text(encoding="utf-8"))


# --- what is compared -----------------------------------------------------------------------------------------------


def state(services: Services, name: str = "fleet") -> dict[str, Any]:
    """All of a model that must be the same at the end: versions, aliases, runs, files, tables, ledger, leases."""
    client = services.tracker.client
    versions = services.registry.versions(name)
    for version in versions:
        services.registry.verify(version)  # signed, and its files whole
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    names = {run.info.run_id: run.info.run_name for run in runs}
    models = client.search_logged_models([experiment.experiment_id]) if experiment else []
    var = Path(services.config.var)
    tops = ("training_sets", "reports", "predictions")
    files = sorted(path for top in tops for path in (var / top / name).rglob("*") if path.is_file())
    entries = services.ledger.entries(name)
    return {
        "versions": [[v.version, v.candidate, v.stage, v.inputs_hash, v.run_key, v.started_by] for v in versions],
        "roles": {role: getattr(services.registry.by_alias(name, role), "version", None) for role in ROLES},
        "runs": _counted(
            f"{run.info.run_name} {run.info.status} below {names.get(run.data.tags.get('mlflow.parentRunId', ''), '-')}"
            for run in runs
        ),
        "models": _counted(f"{names.get(model.source_run_id)} {model.status}" for model in models),
        "tables": {str(p.relative_to(var)): _content(p) for p in files if p.suffix == ".parquet"},
        "reports": [str(p.relative_to(var)) for p in files if p.suffix != ".parquet" and not p.name.startswith(".")],
        "ledger": [[e.kind, e.model, e.key or ""] for e in entries if e.kind not in UNCOUNTED],
        "chain": services.ledger.verify(),
        "leases": sorted(lease for lease in services.leases.living("") if name in lease),
    }


def _content(path: Path) -> str:
    metadata: Mapping[bytes, bytes] = pq.read_schema(path).metadata
    return str(json.loads(metadata[b"mlops.manifest"])["content_hash"])


def _counted(words: Any) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))
