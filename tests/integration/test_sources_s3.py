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

from mlops.data import contracts, fleet, inspection, looked_at, profile
from mlops.data.rule import Terms
from mlops.data.sources import read_delivery
from mlops.errors import SourceError
from mlops.spec import ColumnContract, ContractSpec, SourceSpec, TimestampsSpec

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


def test_a_contract_is_checked_where_the_object_lies(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept and broken, on S3 as on disk, in the same words, by DuckDB and without a row loaded for it."""
    columns = {
        "temperature": ColumnContract(min=-40, max=150, max_null_share=1),
        "rotation": ColumnContract(min=0, max=5000, max_null_share=1),
    }
    frame = fleet.deliver(FLEET, DAY)
    for uri in ("s3://plant/in/{date}.parquet", "s3://plant/by_day/*/part-0.parquet"):
        kept, rows = found(inspection.inspect(source(server, uri), terms(columns), []))
        assert kept.passed
        pd.testing.assert_frame_equal(rows, frame)
    columns["temperature"] = ColumnContract(min=-40, max=float(frame["temperature"].median()), max_null_share=1)
    in_memory = contracts.check(
        frame, terms(columns).contract, entity="device_id", timestamps=TIMES, day=DAY, usual_rows=[]
    )
    monkeypatch.setattr(contracts, "check", lambda *_, **__: pytest.fail("the rows were loaded to be checked"))
    broken, _ = found(inspection.inspect(source(server, "s3://plant/in/{date}.parquet"), terms(columns), []))
    assert not broken.passed
    assert broken.reasons == in_memory.reasons
    with pytest.raises(SourceError, match="not whole"):
        inspection.inspect(source(server, "s3://plant/in/cut.parquet"), terms(columns), [])


def test_a_first_look_reads_objects_where_they_lie(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix on S3 proposes what the same rows in memory propose, with {date} in its URI."""
    options = source(server, "s3://plant").options
    uri = "s3://plant/by_day/*/part-0.parquet"
    in_memory = profile.profile(looked_at.look(uri, kind="parquet", options=options))
    monkeypatch.setattr(looked_at, "look", lambda *_, **__: pytest.fail("the rows were loaded"))
    lying = profile.first_look(uri, options=options)
    assert lying.uri == "s3://plant/by_day/date={date}/part-0.parquet"
    assert (lying.contract, lying.keys, lying.broken) == (in_memory.contract, in_memory.keys, {})


def terms(columns: dict[str, ColumnContract]) -> Terms:
    """What a delivery of the day is held against."""
    return Terms(ContractSpec(columns=columns), "device_id", TIMES, DAY)


def found(inspected: tuple[contracts.ContractResult, pd.DataFrame] | None) -> tuple[contracts.ContractResult, Any]:
    """What an inspection has found, which must be something."""
    assert inspected is not None
    return inspected
