"""`mlops features …` as people type it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.features.engineering import EVENT
from mlops.storage import Storage

HOME = Path(__file__).parents[3]
FIRST = date(2026, 3, 1)


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository of this checkout over three stored days of its view, in a folder of the test's own."""
    monkeypatch.setenv("MLOPS_HOME", str(HOME))
    monkeypatch.setenv("MLOPS_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("MLOPS_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.chdir(tmp_path)
    storage = Storage(str(tmp_path / "var"))
    for i in range(3):
        day = FIRST + timedelta(i)
        at = datetime(day.year, day.month, day.day, 23, 50, tzinfo=UTC)
        table = pa.table({"device_id": ["a", "b"], EVENT: [at, at], "pressure": [float(i), None]})
        storage.write_table(storage.uri("features", "fleet_telemetry", f"date={day}"), table)


def said(*words: str, exit_code: int = 0) -> str:
    """What the command prints."""
    answer = CliRunner().invoke(app, ["features", *words], catch_exceptions=False, env={"COLUMNS": "100"})
    assert answer.exit_code == exit_code, answer.output
    return answer.output


def test_list_names_every_view_with_freshness_users_and_owner() -> None:
    """What a newcomer asks first, and the same as JSON."""
    text = said("list")
    assert "fleet_telemetry" in text
    assert "30 features of device_id, 3 days up to 2026-03-03 23:50" in text
    assert "used by fleet_anomaly (no champion yet); owner: platform@example.com" in text
    [entry] = json.loads(said("list", "--json"))
    assert (entry["name"], entry["freshness"], entry["profile"]["stored_days"]) == ("fleet_telemetry", "stale", 3)


def test_describe_tells_the_unit_the_missing_share_and_the_days_of_a_feature() -> None:
    """Brackets are units, not markup; half of the readings had no pressure."""
    lines = said("describe", "fleet_telemetry").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("pressure "))
    assert "50.0 %" in lines[at]
    assert lines[at].endswith("▁▅█") or lines[at].endswith("▁▄█")
    assert lines[at + 1].strip() == "pressure, as it was read [bar]"
    entry = json.loads(said("describe", "fleet_telemetry", "--days", "2", "--json"))
    assert [day["day"] for day in entry["profile"]["features"]["pressure"]] == ["2026-03-02", "2026-03-03"]


def test_plot_writes_one_page(tmp_path: Path) -> None:
    """Where it was asked to, and beside the caller otherwise."""
    said("plot", "fleet_telemetry", "-o", str(tmp_path / "new" / "page.html"))
    said("plot", "fleet_telemetry")
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "fleet_telemetry.html").read_text(encoding="utf-8")
    assert page.count('<section class="card">') == 30
