"""S3 sources against moto's server, started here on a free port of the loopback."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer

from mlops.data import fleet
from mlops.data.sources import read_delivery
from mlops.errors import SourceError
from mlops.spec import SourceSpec, TimestampsSpec

pytestmark = pytest.mark.integration

DAY = date(2026, 3, 5)
TIMES = TimestampsSpec(event="event_timestamp", arrival="arrived_at")
FLEET = fleet.FleetConfig(devices=2, first_day=DAY)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 with a bucket `plant`."""
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    address = f"http://{host}:{port}"
    plant = client(address)
    plant.create_bucket(Bucket="plant")
    body = io.BytesIO()
    fleet.deliver(FLEET, DAY).to_parquet(body, index=False)
    for key in (f"in/{DAY}.parquet", f"by_day/date={DAY}/part-0.parquet", f"by_day/date={DAY}/part-1.parquet"):
        plant.put_object(Bucket="plant", Key=key, Body=body.getvalue())
    plant.put_object(Bucket="plant", Key=f"by_day/date={DAY}/_SUCCESS", Body=b"")
    plant.put_object(Bucket="plant", Key="in/cut.parquet", Body=body.getvalue()[:-500])
    yield address
    started.stop()


def client(address: str) -> Any:
    """An S3 client for the server."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=address, **keys)


def source(server: str, uri: str, **more: Any) -> SourceSpec:
    """A source on that server."""
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": server, "region_name": "us-east-1"}}
    return SourceSpec(uri=uri, options=options | more)


def read(spec: SourceSpec, day: date = DAY) -> pd.DataFrame | None:
    """What was delivered for the day."""
    return read_delivery(spec, entity="device_id", timestamps=TIMES, day=day)


def test_a_file_and_a_prefix_are_read(server: str) -> None:
    """One object, a prefix as Spark writes it, and a glob give the rows that were put there."""
    expected = fleet.deliver(FLEET, DAY)
    one = read(source(server, "s3://plant/in/{date}.parquet"))
    pd.testing.assert_frame_equal(one, expected)
    for uri in ("s3://plant/by_day/date={date}/", "s3://plant/by_day/date={date}/*.parquet"):
        found = read(source(server, uri))
        assert found is not None
        assert len(found) == 2 * len(expected)


def test_a_growing_table_is_cut_to_the_day(server: str) -> None:
    """Without {date} the rows of the day are taken from all objects."""
    spec = source(server, "s3://plant/by_day/*/part-0.parquet")
    found = read(spec)
    assert found is not None
    assert found["arrived_at"].min() >= datetime(2026, 3, 5, tzinfo=UTC)
    assert read(spec, DAY + timedelta(days=3)) is None


def test_an_absent_object_or_prefix_is_nothing_delivered(server: str) -> None:
    """No object for the date is None, be it that the prefix does not exist either."""
    assert read(source(server, "s3://plant/in/{date}.parquet"), DAY + timedelta(days=1)) is None
    assert read(source(server, "s3://plant/nowhere/{date}/*.parquet")) is None
    assert read(source(server, "s3://plant/nowhere/{date}/")) is None


def test_what_is_delivered_later_is_seen(server: str) -> None:
    """Listings are not remembered: an object that comes a moment later is found by the same process."""
    day = DAY + timedelta(days=20)
    spec = source(server, "s3://plant/in/{date}/*.parquet")
    assert read(spec, day) is None
    rows = len(fleet.deliver(FLEET, DAY))
    for count, name in enumerate(("a", "b"), start=1):
        client(server).copy_object(Bucket="plant", CopySource=f"plant/in/{DAY}.parquet", Key=f"in/{day}/{name}.parquet")
        found = read(spec, day)
        assert found is not None
        assert len(found) == count * rows


def test_an_unknown_bucket_is_an_error_and_not_an_empty_day(server: str) -> None:
    """A misspelt bucket would otherwise look like a source that never delivers."""
    for uri in ("s3://plnat/in/{date}.parquet", "s3://plnat/in/{date}/*.parquet"):
        with pytest.raises(SourceError, match=r"s3://plnat/in/.* cannot be listed: .*Check the URI, the credentials"):
            read(source(server, uri))


def test_a_cut_object_is_refused(server: str) -> None:
    """An upload that broke off is no delivery."""
    with pytest.raises(SourceError, match=r"plant/in/cut\.parquet cannot be read as PARQUET"):
        read(source(server, "s3://plant/in/cut.parquet"))


def test_missing_credentials_are_an_error(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys anywhere the client cannot ask, which is not the same as an empty answer."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    spec = source(server, "s3://plant/in/{date}.parquet", key=None, secret=None, skip_instance_cache=True)
    with pytest.raises(SourceError, match=r"cannot be listed: NoCredentialsError: .*Check the URI, the credentials"):
        read(spec)
