"""docs/contracts.md and docs/labels.md: every command on them is run, in order, and does what the page says."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.data import fleet, partitions
from mlops.data.validated import Form
from mlops.pipelines import ingestion
from mlops.services import Services

ROOT = Path(__file__).parents[3]
FLEET = fleet.FleetConfig(devices=2, step_minutes=60)


def commands(page: str) -> list[list[str]]:
    """The words of each `$ mlops …` of a page, in its order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line, comments=True)[2:] for line in lines if line.startswith("$ mlops ")]


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Services:
    """The shipped model with top-level keys of its spec changed, in a folder that is the working directory."""
    spec = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "fleet_anomaly.yaml").write_text(yaml.safe_dump(spec | changes))
    settings = {"HOME": ROOT, "VAR": tmp_path / "var", "MODELS_DIR": tmp_path / "models", "ACTOR": "ann"}
    for key, value in settings.items():
        monkeypatch.setenv(f"MLOPS_{key}", str(value))
    monkeypatch.chdir(tmp_path)
    return Services.open()


def run(page: str) -> dict[str, str]:
    """What each command said, by its first words; all must be done."""
    said = {}
    for words in commands(page):
        answer = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
        assert answer.exit_code == 0, f"{words}: {answer.output} {answer.exception}"
        said[" ".join(words[:2])] = answer.output
    return said


def test_the_commands_of_the_page_on_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nights wait in quarantine: one is explained and released, one dropped; the first look proposes a spec."""
    services = installed(tmp_path, monkeypatch, contract={"columns": {"temperature": {"max": 1}}, "min_rows": 1})
    for day in (date(2026, 3, 14), date(2026, 3, 15)):
        fleet.write_delivery(FLEET, day, str(tmp_path / "var" / "inbox"), corrupt=False)
        assert ingestion.run(services, services.spec("fleet_anomaly"), day).outcome == "no"
    said = run("contracts.md")
    assert "entity: device_id" in said["data profile"] + (tmp_path / "pumps.yaml").read_text()
    assert "temperature" in said["quarantine explain"]
    assert "released by ann" in said["quarantine release"]
    assert "dropped by ann" in said["quarantine drop"]
    assert partitions.delivered_days(services.storage, "fleet") == [date(2026, 3, 14)]


def test_the_commands_of_the_page_on_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alarms are confirmed and dismissed, an event is labelled, a file looked at; the list says all of it."""
    label = {"column": "is_anomaly", "store": ["hand", "import", "alarm"]}
    services = installed(tmp_path, monkeypatch, label=label, contract={"columns": {"temperature": {}}})
    times = [datetime(2026, 3, 12, 4, 10, tzinfo=UTC), datetime(2026, 3, 12, 5, tzinfo=UTC)]
    rows = pd.DataFrame({"device_id": ["pump-07", "pump-03"], "event_timestamp": pd.Series(times)})
    rows["event_timestamp"] = rows["event_timestamp"].astype("datetime64[us, UTC]")
    rows = rows.assign(arrived_at=rows["event_timestamp"], temperature=60.0)
    spec = services.spec("fleet_anomaly")
    form = Form(date(2026, 3, 12), spec.contract, spec.entity, spec.timestamps)
    partitions.publish(services.storage, "fleet", rows, form)
    flags = rows[["device_id"]].assign(observed_at=rows["event_timestamp"], score=9.0, flag=True, model_version=1)
    uri = services.storage.uri("predictions", "fleet_anomaly", "date=2026-03-12")
    services.storage.write_table(uri, pa.Table.from_pandas(flags, preserve_index=False))
    labels = rows[["device_id", "event_timestamp"]].assign(is_anomaly=[1, 0])
    labels.to_csv(tmp_path / "labels.csv", index=False)
    seconds = (datetime(2026, 3, 13, tzinfo=UTC) - datetime.now(UTC)) / timedelta(seconds=1)
    monkeypatch.setenv("MLOPS_CLOCK_OFFSET_SECONDS", str(seconds))
    said = run("labels.md")
    assert "pump-07@2026-03-12T04:10:00Z" in said["label alarms"]
    assert "is confirmed" in said["label confirm"]
    assert "is dismissed" in said["label dismiss"]
    assert "2 labels would be looked at" in said["label import"]
    assert "bearing replaced" in said["label list"]
    assert len(services.labels.history("fleet_anomaly")) == 3
