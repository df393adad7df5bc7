"""A stream into the online store: what a batch of the same readings would have brought, and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.errors import FeatureError
from mlops.pipelines import streaming
from mlops.pipelines.night import as_of
from mlops.pipelines.tasks import execute
from mlops.services import Services
from mlops.spec import ModelSpec

ROOT = Path(__file__).parents[3]
FLEET = fleet.FleetConfig(devices=3, step_minutes=30, late_share=0.05)
FIRST, LAST = FLEET.first_day, FLEET.first_day + timedelta(days=1)
KEYS = [fleet.device_name(i) for i in range(3)]


@pytest.fixture
def plant(tmp_path: Path) -> tuple[Services, ModelSpec]:
    """One night of ingestion and features."""
    values = {"home": ROOT, "var": str(tmp_path / "var"), "state_dir": str(tmp_path / "var"), "code_version": "test"}
    services = Services.open(MLOpsConfig.build(values))
    spec = services.spec("fleet_anomaly")
    contract = spec.contract.model_copy(update={"min_rows": 1, "volume_tolerance": None})
    spec = spec.model_copy(update={"contract": contract})
    fleet.write_delivery(FLEET, FIRST, f"{tmp_path}/var/inbox")
    for step in ("ingestion", "features"):
        assert execute(step, services, spec, FIRST).outcome == "done"
    return services, spec


def lines(spec: ModelSpec) -> list[str]:
    """The readings of the second day, in the order in which they became known."""
    rows = fleet.deliver(FLEET, LAST).sort_values("arrived_at", kind="stable")
    times = {name: rows[name].map(pd.Timestamp.isoformat) for name in ("event_timestamp", "arrived_at")}
    return [json.dumps(row) for row in rows.assign(**times).astype(object).where(rows.notna(), None).to_dict("records")]


def test_a_streamed_day_is_online_what_its_batch_would_be(plant: tuple[Services, ModelSpec]) -> None:
    """Started after the first day, line by line or some at once: to the last bit what the second day's batch brings.

    Two hours in, the windows still reach into the first day; at the end, no longer.
    """
    services, spec = plant
    given = lines(spec)
    moment = as_of(FIRST) + timedelta(hours=2)
    early = [line for line in given if pd.Timestamp(json.loads(line)["arrived_at"]) <= moment]
    assert len(list(streaming.follow(services, spec, early))) == len(early) > 3
    soon = services.features.online(spec.features.service, KEYS, as_of=moment)
    *_, one = streaming.follow(services, spec, given)
    assert (one.lines, one.too_late, one.refused) == (len(given), 0, 0)
    assert 0 < one.pushed <= len(given)
    streamed = services.features.online(spec.features.service, KEYS, as_of=as_of(LAST))
    *_, again = streaming.follow(services, spec, given, at_once=7)
    assert again.lines == len(given)
    fleet.write_delivery(FLEET, LAST, f"{services.config.var}/inbox")
    for step in ("ingestion", "features"):
        assert execute(step, services, spec, LAST).outcome == "done"
    features = [*services.features.features_of(spec.features.service), "feature_timestamp", "feature_known_at"]
    for found, at in ((soon, moment), (streamed, as_of(LAST))):
        times = pd.DatetimeIndex([at] * 3).as_unit("us")
        asked = pd.DataFrame({"device_id": KEYS, "event_timestamp": times})
        batch = services.features.historical(spec.features.service, asked)
        pd.testing.assert_frame_equal(found[features], batch[features], check_exact=True)
        assert batch["feature_timestamp"].min() > as_of(FIRST)


def test_what_is_no_reading_is_counted_and_the_stream_goes_on(
    plant: tuple[Services, ModelSpec], caplog: pytest.LogCaptureFixture
) -> None:
    """No JSON, no key, no zone, from the future, without a column: told with the line; the last line is pushed."""
    services, spec = plant
    good = json.loads(lines(spec)[-1])
    wrong = [
        ("{half", "Expecting property name"),
        ("[1]", "it is no JSON object"),
        (json.dumps({**good, "device_id": None}), "it has no 'device_id'"),
        (json.dumps({**good, "event_timestamp": "2026-03-02T01:00"}), "its 'event_timestamp' is no time with a zone"),
        (json.dumps({**good, "arrived_at": None}), "its 'arrived_at' is no time with a zone"),
        (json.dumps({**good, "event_timestamp": "2996-03-02T01:00Z"}), "lies in the future|Out of bounds"),
        (json.dumps({name: value for name, value in good.items() if name != "vibration"}), "'vibration' is missing"),
    ]
    *_, done = streaming.follow(services, spec, [*(line for line, _ in wrong), json.dumps(good)])
    assert (done.lines, done.refused, done.pushed) == (len(wrong) + 1, len(wrong), 1)
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("refused")]
    for number, ((_, why), message) in enumerate(zip(wrong, told, strict=True), 1):
        assert f"line={number}" in message
        assert any(part in message for part in why.split("|")), message


def test_a_model_without_a_view_of_its_data_is_refused(plant: tuple[Services, ModelSpec]) -> None:
    """Nothing could be computed from its readings: said before the first line."""
    services, spec = plant
    other = spec.model_copy(update={"source": spec.source.model_copy(update={"dataset": "elsewhere"})})
    with pytest.raises(FeatureError, match=r"No view of feature service .* is made of data set 'elsewhere'"):
        next(streaming.follow(services, other, []))


def test_the_command_counts_and_says_so_by_its_exit_code(
    plant: tuple[Services, ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlops features stream` reads standard input to its end; 0 if all were readings, 3 if some were refused."""
    services, spec = plant
    for name, value in (("HOME", ROOT), ("VAR", services.config.var), ("STATE_DIR", services.config.state_dir)):
        monkeypatch.setenv(f"MLOPS_{name}", str(value))
    given = lines(spec)[:3]
    for sent, code, told in ((given, 0, "3 lines: 3 pushed, 0 too late, 0 refused"), (["no"], 3, "0 pushed")):
        answer = CliRunner().invoke(
            app, ["features", "stream", spec.name], input="\n".join(sent), catch_exceptions=False
        )
        assert answer.exit_code == code, answer.output
        assert told in answer.output
