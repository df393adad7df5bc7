"""A plant of two pumps with one model, for tests of what the shell does with data: no Feast, no MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from mlops.cli.__main__ import app
from mlops.data import partitions
from mlops.pipelines import ingestion
from mlops.records import StepReport
from mlops.services import Services
from mlops.spec import ModelSpec

ROOT = Path(__file__).parents[1]
DAY = date(2026, 3, 5)
SPEC: dict[str, Any] = {
    "name": "pumps",
    "owner": "team@example.com",
    "task": "anomaly",
    "entity": "pump",
    "timestamps": {"event": "at"},
    "source": {"dataset": "plant", "kind": "parquet", "uri": "${MLOPS_VAR}/in/{date}.parquet"},
    "contract": {"columns": {"heat": {"min": 0, "max": 100}}},
    "features": {"service": "pumps_v1"},
    "candidates": [{"algorithm": "hbos"}],
}


@dataclass
class Plant:
    """An installation with one model, as the shell sees it."""

    services: Services

    @property
    def spec(self) -> ModelSpec:
        """Its model."""
        return self.services.spec("pumps")

    def deliver(self, day: date = DAY, **columns: Any) -> None:
        """Deliver four readings of two pumps."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        times = pd.Series([start, start + timedelta(hours=1)] * 2, dtype="datetime64[us, UTC]")
        frame = pd.DataFrame({"pump": ["a", "a", "b", "b"], "at": times, "heat": [10.0, 20.0, 30.0, 40.0]})
        path = Path(f"{self.services.config.var}/in/{day}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.assign(**columns).to_parquet(path)

    def ingest(self, day: date = DAY) -> StepReport:
        """Ingest what was delivered."""
        return ingestion.run(self.services, self.spec, day)

    def refused(self, **columns: Any) -> StepReport:
        """Deliver and ingest what breaks its contract: by default, heat of 500 in row 2."""
        self.deliver(**(columns or {"heat": [10.0, 20.0, 500.0, 40.0]}))
        answer = self.ingest()
        assert answer.outcome == "no"
        return answer

    def rows(self) -> pd.DataFrame:
        """What downstream sees of the day."""
        return partitions.read_rows(self.services.storage, "plant", DAY, DAY)


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Plant:
    """An installation that the environment names, its model's spec with top-level keys changed."""
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models" / "pumps.yaml").write_text(yaml.safe_dump(SPEC | changes))
    settings = {"HOME": ROOT, "VAR": tmp_path / "var", "MODELS_DIR": tmp_path / "models", "ACTOR": "ann"}
    for key, value in settings.items():
        monkeypatch.setenv(f"MLOPS_{key}", str(value))
    return Plant(Services.open())


def mlops(*words: str) -> Result:
    """A command and what it answered."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words))
