"""Feature tables on S3 (moto's server on the loopback): the answers are those of local tables, without any download."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import boto3
import pandas as pd
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.errors import NoDataError, StorageError
from mlops.features.store import FeatureStore
from mlops.pipelines.tasks import execute
from mlops.services import Services
from mlops.storage import Storage

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SERVICE = "fleet_anomaly_v1"
FLEET = fleet.FleetConfig(devices=2, step_minutes=30, late_share=0.05)
DAYS = tuple(FLEET.first_day + timedelta(days=i) for i in range(4))


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A server with a bucket, whose address and keys the environment names, as in production."""
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()  # clients remember the address they were made with
        boto3.client("s3").create_bucket(Bucket="plant")
        yield
    s3fs.S3FileSystem.clear_instance_cache()
    started.stop()


@pytest.fixture
def bucket(server: None, request: pytest.FixtureRequest) -> str:
    """A prefix of its own for every test."""
    return f"s3://plant/{request.node.name}"


def night_by_night(var: str, state: Path) -> Services:
    """An installation with the features of four nights."""
    config = MLOpsConfig.build({"home": ROOT, "var": var, "state_dir": state, "code_version": "test"})
    services = Services.open(config)
    spec = services.spec("fleet_anomaly")
    spec = spec.model_copy(
        update={"contract": spec.contract.model_copy(update={"min_rows": 1, "volume_tolerance": None})}
    )
    for day in DAYS:
        fleet.write_delivery(FLEET, day, f"{var}/inbox")
        for step in ("ingestion", "features"):
            assert execute(step, services, spec, day).outcome == "done"
    return services


def joined(store: FeatureStore, *hours: float) -> pd.DataFrame:
    """What was known of both devices at these hours after the first midnight."""
    start = datetime(DAYS[0].year, DAYS[0].month, DAYS[0].day, tzinfo=UTC)
    rows = [(fleet.device_name(i), start + timedelta(hours=h)) for i in range(2) for h in hours]
    frame = pd.DataFrame(rows, columns=["device_id", "event_timestamp"])
    return store.historical(SERVICE, frame.astype({"event_timestamp": "datetime64[us, UTC]"}))


def test_tables_on_s3_answer_as_local_tables_do(bucket: str, tmp_path: Path) -> None:
    """Point-in-time joins, late rows and midnights included, and the online store are the same."""
    far = night_by_night(bucket, tmp_path / "far").features
    near = night_by_night(str(tmp_path / "near"), tmp_path / "near").features
    hours = (0.1, 5.02, 23.9, 24.01, 30, 47.99, 60, 71, 94)
    expected = joined(near, *hours)
    assert expected["temperature"].notna().sum() >= 14
    pd.testing.assert_frame_equal(joined(far, *hours), expected)
    devices = [fleet.device_name(0), fleet.device_name(1), "never-seen"]
    online = [store.online(SERVICE, devices, stale="allow") for store in (far, near)]
    assert online[0]["temperature"].notna().tolist() == [True, True, False]
    pd.testing.assert_frame_equal(*online)


def test_a_view_without_tables_on_s3_says_what_to_run(bucket: str, tmp_path: Path) -> None:
    """Before the first delivery a join is refused, and the step that fills the view is named."""
    config = MLOpsConfig.build({"home": ROOT, "var": bucket, "state_dir": tmp_path, "code_version": "test"})
    store = Services.open(config).features
    store.apply()
    with pytest.raises(NoDataError, match="Run the features step"):
        joined(store, 5)


def test_what_another_process_publishes_is_seen_at_once(bucket: str) -> None:
    """Listings are not remembered: a date that somebody else publishes is there for the next question."""
    storage = Storage(bucket)
    table = storage.uri("data", "pumps")
    assert storage.partitions(table) == []
    assert storage.manifest(f"{table}/date=2026-03-02") is None
    boto3.client("s3").put_object(
        Bucket="plant", Key=f"{table}/date=2026-03-02/part.parquet".removeprefix("s3://plant/"), Body=b"x"
    )
    assert storage.partitions(table) == [date(2026, 3, 2)]
    assert storage.exists(f"{table}/date=2026-03-02/part.parquet")


def test_a_server_that_is_away_is_an_error_that_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own errors become the storage's, for listing and for writing."""
    away = Storage(
        "s3://plant/away", {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
    )
    for ask in (
        lambda: away.partitions(away.uri("data")),
        lambda: away.write_bytes(away.uri("x"), b"y"),
    ):
        with pytest.raises(StorageError, match=r"s3://plant/away/.* cannot be reached: .*AWS_ENDPOINT_URL"):
            ask()
