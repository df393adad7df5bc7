"""A team's own data, as README tells: CSV files by date, one spec, one feature view, all in a temporary folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.pipelines.tasks import execute
from mlops.records import StepReport
from mlops.services import Services

ROOT = Path(__file__).parents[2]
FIRST = date(2026, 1, 5)
HISTORY_DAYS = 9

VIEW = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

press = Entity(name="press", join_keys=["press_id"], value_type=ValueType.STRING)
press_load = telemetry_view(
    name="press_load", entity=press, dataset="presses", ttl=timedelta(days=1),
    recipe=Recipe(columns=("load", "heat"), windows=("3h",), statistics=("value", "mean")),
)
presses_v1 = FeatureService(name="presses_v1", features=[press_load])
"""

SPEC: dict[str, Any] = {
    "name": "presses",
    "owner": "team@example.com",
    "task": "classification",
    "entity": "press_id",
    "source": {"kind": "csv", "uri": "${MLOPS_VAR}/inbox/{date}.csv"},
    "contract": {"columns": {"load": {"min": 0, "max": 100}, "heat": {"min": -50, "max": 200}}},
    "features": {"service": "presses_v1"},
    "label": {"column": "failing"},
    "candidates": [
        {"algorithm": "logistic_regression"},
        {"algorithm": "random_forest", "params": {"n_estimators": 20}},
    ],
    "split": {"window_days": 8, "holdout_days": 2, "calibration_days": 1, "folds": 2, "gap_hours": 3},
    "gates": {"floor": 0.6, "min_rows": 100, "resamples": 200},
    "drift": {"min_rows": 50},
}


@dataclass(frozen=True)
class Team:
    """A team with its folder and services."""

    folder: Path
    services: Services
    nine_days: Path | None = None  # the tables of HISTORY_DAYS delivered by another team with the same files

    @property
    def inbox(self) -> Path:
        """Where CSV files are delivered."""
        return self.folder / "var" / "inbox"

    def readings(self, day: date) -> pd.DataFrame:
        """What six presses report on a day, every half hour: hot presses under load fail."""
        rng = np.random.default_rng(day.toordinal())
        times = pd.date_range(datetime(day.year, day.month, day.day, tzinfo=UTC), periods=48, freq="30min")
        frame = pd.DataFrame(
            [(f"press-{i}", at) for i in range(6) for at in times], columns=["press_id", "event_timestamp"]
        )
        frame["load"] = rng.uniform(0, 100, len(frame)).round(3)
        frame["heat"] = rng.normal(60, 20, len(frame)).clip(-40, 190).round(3)
        risk = 1 / (1 + np.exp(-(frame["load"] / 12 + frame["heat"] / 12 - 11)))
        frame["failing"] = (rng.uniform(size=len(frame)) < risk).astype(int)
        return frame

    def deliver(self, day: date, frame: pd.DataFrame | None = None) -> Path:
        """Write a delivery, by default the day's readings."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        path = self.inbox / f"{day}.csv"
        (self.readings(day) if frame is None else frame).to_csv(path, index=False)
        return path

    def write_spec(self, **changes: Any) -> None:
        """Write the spec with changes; a key that is a dict is merged."""
        spec = {
            k: v | changes[k] if k in changes and isinstance(v, dict) else changes.get(k, v) for k, v in SPEC.items()
        }
        spec |= {key: value for key, value in changes.items() if key not in spec}
        (self.folder / "models").mkdir(exist_ok=True)
        (self.folder / "models" / "presses.yaml").write_text(yaml.safe_dump(spec))

    def run(self, step: str, day: date, **options: Any) -> StepReport:
        """One step of one night."""
        return execute(step, self.services, self.services.spec("presses"), day, **options)

    def history(self, days: int = HISTORY_DAYS) -> date:
        """Deliver, ingest and feature the first days; the newest of them."""
        if self.nine_days is not None and days == HISTORY_DAYS:
            for name in ("inbox", "data", "features", "reports"):
                shutil.copytree(self.nine_days / name, self.folder / "var" / name, dirs_exist_ok=True)
            return FIRST + timedelta(days=days - 1)
        for day in (FIRST + timedelta(days=i) for i in range(days)):
            self.deliver(day)
            for step in ("ingestion", "features"):
                assert self.run(step, day).outcome == "done"
        return FIRST + timedelta(days=days - 1)


@pytest.fixture(scope="session")
def nine_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `var` of a team whose first nine days were delivered, ingested and featured: made once, for all tests."""
    first = opened(tmp_path_factory.mktemp("nine_days"))
    first.history()
    return first.folder / "var"


@pytest.fixture
def team(tmp_path: Path, nine_days: Path) -> Team:
    """A team with nothing but a spec and a feature view."""
    return replace(opened(tmp_path), nine_days=nine_days)


def opened(tmp_path: Path) -> Team:
    """The team of a folder."""
    repo = tmp_path / "feature_repo"
    repo.mkdir()
    shutil.copy(ROOT / "feature_repo" / "feature_store.yaml", repo)
    (repo / "presses.py").write_text(VIEW)
    values = {
        "home": ROOT,
        "var": str(tmp_path / "var"),
        "models_dir": tmp_path / "models",
        "feature_repo": repo,
        "code_version": "test",
    }
    made = Team(tmp_path, Services.open(MLOpsConfig.build(values)))
    made.write_spec()
    return made
