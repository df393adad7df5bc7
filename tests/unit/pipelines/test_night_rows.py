"""A night that is too large for memory: what is found of it is what would be found of all its rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops import storage
from mlops.pipelines import monitoring, night_rows
from mlops.pipelines.inference import predictions_uri
from mlops.spec import DriftSpec
from tests.contenders import FEATURES, Contenders

DAY = date(2026, 4, 1)
DAYS, ROWS = 8, 4_800


def rows(first: date, days: int, shift: float) -> pd.DataFrame:
    """Ten devices; the temperature of a shifted night is higher, and a tenth of its pressure is missing."""
    rng = np.random.default_rng(first.toordinal())
    times = pd.date_range(str(first), periods=days * ROWS // 10, freq=f"{86_400 * 10 // ROWS}s", tz="UTC")
    frame = pd.DataFrame({"device_id": [f"d{i}" for i in range(10)] * len(times), "observed_at": np.repeat(times, 10)})
    for name in FEATURES:
        frame[name] = rng.normal(size=len(frame))
    frame["temperature"] += shift
    if shift:
        frame.loc[rng.random(len(frame)) < 0.1, "pressure"] = np.nan
    return frame


@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
def test_a_large_night_is_judged_as_all_its_rows(
    contenders: Contenders, monkeypatch: pytest.MonkeyPatch, shards: bool
) -> None:
    """Verdict, columns and row counts, from a tenth of the rows and the profiles of all; a small one is read whole."""
    services = contenders.services
    spec = contenders.spec.model_copy(
        update={"drift": DriftSpec(columns=(*FEATURES, monitoring.PREDICTION), joint=(), min_rows=500)}
    )
    version = contenders.register()
    scorer = services.registry.load(version)
    reference = rows(date(2026, 3, 20), DAYS, 0.0)
    reference[monitoring.PREDICTION] = scorer.score(reference)
    night = rows(DAY, 1, 1.0)
    night["score"] = scorer.score(night)
    uri = predictions_uri(services, spec, DAY)
    table = storage.microseconds(pa.Table.from_pandas(night, preserve_index=False))
    manifest = services.storage.write_table(uri, table)
    if shards:
        for number, part in enumerate((table.slice(0, 3_000), table.slice(3_000))):
            pq.write_table(part, f"{uri}/{number}.parquet")
        whole = replace(manifest, shards=("0.parquet", "1.parquet"))
        Path(uri, storage.TABLE_FILE).write_bytes(storage.parquet(table.slice(0, 0), whole))

    def found() -> tuple[night_rows.NightRows, monitoring.DriftReport]:
        one = monitoring._current(services, spec, DAY, reference)
        told = monitoring._compare(services, spec, DAY, version, scorer, reference, one.rows, one.profiles)
        return one, told

    all_of_it, expected = found()
    assert (len(all_of_it.rows), dict(all_of_it.profiles)) == (ROWS, {})
    monkeypatch.setattr(night_rows, "MOST_ROWS", ROWS - 1)
    monkeypatch.setattr(night_rows, "SAMPLE", ROWS // 10)
    part, told = found()
    assert (len(part.rows), set(part.profiles)) == (ROWS // 10, {*FEATURES, monitoring.PREDICTION})
    assert set(part.rows["temperature"]) < set(all_of_it.rows["temperature"])
    assert set(part.rows.columns) == set(all_of_it.rows.columns)
    assert (told.verdict, told.degree, told.current_rows) == ("drift", expected.degree, ROWS)
    for one, other in zip(told.columns, expected.columns, strict=True):
        assert (one.column, one.verdict) == (other.column, other.verdict)
        assert one.value == pytest.approx(other.value, rel=1e-3), one.column
    assert {"temperature", "missing(pressure)"} <= {one.column for one in told.columns if one.verdict == "drift"}
    again, _ = found()
    pd.testing.assert_frame_equal(again.rows, part.rows)
