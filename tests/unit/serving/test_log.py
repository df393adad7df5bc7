"""The prediction log: what was answered is kept, once, masked as the spec says; what is lost is counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops.errors import ConfigError, StorageError
from mlops.serving import log_reading, log_writer
from mlops.serving.log_frames import Columns, Rows, TornError, encoded, frames
from mlops.serving.log_spool import Spool
from mlops.serving.privacy import KEY_FILE, Mask, key_of
from mlops.storage import Storage

AT = int(datetime(2026, 3, 5, 12, tzinfo=UTC).timestamp() * 1_000_000)
DAY = date(2026, 3, 5)
COLUMNS = Columns(1, "pumps", 3, "device_id", ("heat", "load"), (), 0.5, ())


def answered(name: str, values: list[list[float]], at: int = AT, number: int = 1, **more: object) -> Rows:
    """The rows of a request; the score is the sum of the values."""
    X = np.array(values, dtype=np.float64)
    entities = [f"d{i}" for i in range(len(X))]
    return Rows(number, name, "champion", at, 50.0, X.tobytes(), X.sum(axis=1).tobytes(), entities, **more)  # type: ignore[arg-type]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty storage."""
    return Storage(str(tmp_path / "var"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool that knows one version."""
    made = Spool(tmp_path / "spool", "w1")
    made.declare(COLUMNS)
    return made


def test_what_was_answered_is_read_back(storage: Storage, spool: Spool) -> None:
    """Rows, scores, flags, version, entity, times and features, in the order in which they were answered."""
    spool.append(1, answered("b", [[0.1, 0.2], [0.3, np.nan]], AT + 5, event_us=[AT - 7, None]), 2)
    spool.append(1, answered("a", [[1.0, 2.0]], feature_us=[AT - 9]), 1)
    spool.close()
    found = log_writer.publish(storage, spool.folder.parent)
    assert (found.segments, found.rows, found.torn_bytes) == (1, 3, 0)
    table = log_reading.read(storage, "pumps", DAY)
    assert table["request_id"].tolist() == ["a", "b", "b"]
    assert table["row"].tolist() == [0, 0, 1]
    assert table["device_id"].tolist() == ["d0", "d0", "d1"]
    assert table["heat"].tolist() == [1.0, 0.1, 0.3]
    assert table["flag"].tolist()[:2] == [True, False]
    assert pd.isna(table.loc[2, "flag"])
    assert pd.isna(table.loc[2, "score"])
    assert pd.isna(table.loc[2, "load"])
    assert table["model_version"].unique().tolist() == [3]
    assert table.loc[0, "feature_timestamp"] == pd.Timestamp(AT - 9, unit="us", tz="UTC")
    assert table.loc[1, "event_timestamp"] == pd.Timestamp(AT - 7, unit="us", tz="UTC")
    assert not spool.folder.exists()
    assert log_reading.days(storage, "pumps") == [DAY]


def test_versions_with_other_features_share_a_date(storage: Storage, spool: Spool) -> None:
    """Rows of a new version with another feature stand beside those of the old one, null where it has none."""
    spool.append(1, answered("a", [[1.0, 2.0]]), 1)
    spool.declare(Columns(2, "pumps", 4, "device_id", ("heat", "noise"), (), None, ()))
    spool.append(2, answered("b", [[3.0, 4.0]], AT + 1, number=2), 1)
    spool.close()
    log_writer.publish(storage, spool.folder.parent)
    table = log_reading.read(storage, "pumps", DAY)
    assert table["model_version"].tolist() == [3, 4]
    assert table[["load", "noise"]].isna().to_numpy().tolist() == [[False, True], [True, False]]
    assert pd.isna(table.loc[1, "flag"])


def test_a_segment_that_is_published_twice_counts_once(
    storage: Storage, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that dies between publishing and removing leaves nothing doubled."""
    spool.append(1, answered("a", [[1.0, 2.0]]), 1)
    spool.rotate()

    def killed(_self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            log_writer.publish(storage, spool.folder.parent)
    assert len(log_reading.read(storage, "pumps", DAY)) == 1
    log_writer.publish(storage, spool.folder.parent)
    assert len(log_reading.read(storage, "pumps", DAY)) == 1
    assert not list(spool.folder.glob("*.closed"))


def test_a_storage_that_refuses_loses_nothing(spool: Spool, tmp_path: Path) -> None:
    """What cannot be published stays, and is published once it can be."""
    spool.append(1, answered("a", [[1.0, 2.0]]), 1)
    spool.rotate()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        log_writer.publish(Storage(str(tmp_path / "file" / "var")), spool.folder.parent)
    assert list(spool.folder.glob("*.closed"))
    storage = Storage(str(tmp_path / "var"))
    assert log_writer.publish(storage, spool.folder.parent).rows == 1


CHILD = """
import sys, time
from pathlib import Path
from tests.unit.serving.test_log import COLUMNS, answered
from mlops.serving.log_spool import Spool
spool = Spool(Path(sys.argv[1]), "child")
spool.declare(COLUMNS)
for i in range(500):
    spool.append(1, answered(f"r{i}", [[1.0, 2.0]]), 1)
print("answered", flush=True)
time.sleep(60)
"""


def test_a_killed_process_loses_nothing(storage: Storage, tmp_path: Path) -> None:
    """SIGKILL after 500 answers: all 500 are in the log. While it lived its open segment was let alone."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "spool")], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"answered\n"
    assert log_writer.publish(storage, tmp_path / "spool").rows == 0
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert log_writer.publish(storage, tmp_path / "spool").rows == 500
    assert log_reading.read(storage, "pumps", DAY)["request_id"].nunique() == 500
    assert not (tmp_path / "spool" / "child").exists()


def test_a_torn_end_is_left_out_and_told(storage: Storage, spool: Spool) -> None:
    """A frame cut short, or with a wrong byte, is no row; those before it count, and the loss is counted."""
    for name in ("a", "b"):
        spool.append(1, answered(name, [[1.0, 2.0]]), 1)
    spool.rotate()
    (segment,) = spool.folder.glob("*.closed")
    whole = segment.read_bytes()
    last = len(encoded(answered("b", [[1.0, 2.0]])))
    for cut in (1, last - 1):
        with pytest.raises(TornError):
            list(frames(whole[:-cut]))
    broken = bytearray(whole)
    broken[-3] ^= 1
    segment.write_bytes(bytes(broken))
    found = log_writer.publish(storage, spool.folder.parent)
    assert (found.rows, found.torn_bytes) == (1, last)


def test_segments_are_closed_by_size_and_by_age(tmp_path: Path) -> None:
    """Large or old, a segment goes to the writer; an empty one does not."""
    spool = Spool(tmp_path, "w", segment_bytes=400, segment_seconds=0.05)
    spool.declare(COLUMNS)
    for i in range(10):
        spool.append(1, answered(f"r{i}", [[1.0, 2.0]]), 1)
    assert len(list(spool.folder.glob("*.closed"))) >= 2
    spool.append(1, answered("last", [[1.0, 2.0]]), 1)
    time.sleep(0.06)
    spool.tend()
    assert not list(spool.folder.glob("*.open"))


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.unit.serving.test_log import COLUMNS, answered
from mlops.serving.log_spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]), "child", waiting_bytes=2_000)
spool._retry_at, spool_rows = 0.0, 0
spool.declare(COLUMNS)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, resource.RLIM_INFINITY))
for i in range(60):
    spool.append(1, answered(f"r{i}", [[1.0, 2.0]]), 1)
print(spool.written_rows, spool.waiting_rows, spool.lost_rows)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool._retry_at = 0.0
spool.tend()
print(spool.written_rows, spool.waiting_rows, spool.lost_rows)
spool.close()
"""


def test_a_disk_that_refuses_is_waited_for_and_loss_is_counted(storage: Storage, tmp_path: Path) -> None:
    """What the disk refuses waits in memory up to a bound; the rest is counted as lost; whole frames alone are kept."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "spool")],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
    )  # fmt: skip
    (written, waiting, lost), after = ([int(n) for n in line.split()] for line in done.stdout.splitlines())
    assert written + waiting + lost == 60
    assert min(written, waiting, lost) > 0
    assert after == [written + waiting, 0, lost]
    found = log_writer.publish(storage, tmp_path / "spool")
    assert (found.rows, found.torn_bytes) == (written + waiting, 0)


def test_personal_fields_never_reach_the_disk(storage: Storage, tmp_path: Path) -> None:
    """A dropped field is not there; a hashed one is the same for the same value, and not the value."""
    key = key_of(tmp_path / "keys")
    mask = Mask.of(("heat", "load", "age"), "device_id", hashed=("device_id", "age"), dropped=("load",), key=key)
    spool = Spool(tmp_path / "spool", "w")
    spool.declare(Columns(1, "pumps", 3, "device_id", ("heat",), ("age",), 0.5, ()))
    X = np.array([[1.0, 777.0, 41.5], [2.0, 777.0, 41.5], [3.0, 777.0, np.nan]])
    names = mask.entities(["alice", "alice", "bob"])
    frame = Rows(1, "a", "champion", AT, 1.0, mask.values(X), X[:, 0].tobytes(), names, hashes=mask.hashes(X))
    spool.append(1, frame, 3)
    raw = b"".join(path.read_bytes() for path in spool.folder.glob("*.open"))
    for secret in (b"alice", np.float64(777.0).tobytes(), np.float64(41.5).tobytes(), b"41.5"):
        assert secret not in raw
    spool.close()
    log_writer.publish(storage, tmp_path / "spool")
    table = log_reading.read(storage, "pumps", DAY)
    assert "load" not in table
    assert "age" not in table
    assert table["age_hash"].nunique() == 1
    assert table["age_hash"].isna().tolist() == [False, False, True]
    assert table["device_id"].tolist() == [mask.hash("alice"), mask.hash("alice"), mask.hash("bob")]
    assert (tmp_path / "keys" / KEY_FILE).stat().st_mode & 0o077 == 0
    assert key_of(tmp_path / "keys") == key
    other = Mask.of(("heat",), "device_id", hashed=("device_id",), dropped=(), key=os.urandom(32))
    assert other.hash("alice") != mask.hash("alice")


def test_a_field_that_is_not_there_cannot_be_masked() -> None:
    """A mistyped name would leave the field as it is: it is refused with the one that was meant."""
    with pytest.raises(ConfigError, match=r"'hat', which is no field .* Did you mean 'heat'"):
        Mask.of(("heat",), "device_id", hashed=("hat",), dropped=())
    with pytest.raises(ConfigError, match="both hashes and drops heat"):
        Mask.of(("heat",), "device_id", hashed=("heat",), dropped=("heat",))


def test_labels_join_by_request_or_by_entity_and_time(storage: Storage, spool: Spool) -> None:
    """Each prediction gets its label; those without one keep null, and no row is doubled."""
    spool.append(1, answered("a", [[1.0, 2.0], [3.0, 4.0]], event_us=[AT, AT]), 2)
    spool.append(1, answered("b", [[5.0, 6.0]], AT + 1), 1)
    spool.close()
    log_writer.publish(storage, spool.folder.parent)
    table = log_reading.read(storage, "pumps", DAY)
    by_id = pd.DataFrame({"request_id": ["a", "b", "b"], "row": [1, 0, 0], "label": [True, False, True]})
    joined = log_reading.with_labels(table, by_id, entity="device_id")
    assert joined["truth"].map(str).tolist() == ["nan", "True", "True"]
    times = pd.to_datetime([AT, AT], unit="us", utc=True)
    by_time = pd.DataFrame({"device_id": ["d1", "d7"], "event_timestamp": times, "label": [1, 0]})
    joined = log_reading.with_labels(table, by_time, entity="device_id")
    assert joined["truth"].tolist()[1] == 1
    assert joined["truth"].isna().tolist() == [True, False, True]
