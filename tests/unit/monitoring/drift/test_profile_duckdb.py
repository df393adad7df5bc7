"""A table read once, in pieces: its profiles are those of all its rows, and the verdict is theirs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from mlops.monitoring.drift import columns as cols
from mlops.monitoring.drift import detect, profile_duckdb
from mlops.monitoring.drift.profile import Profile
from mlops.spec import DriftSpec

ROWS = 6_000
TIMES = pd.date_range("2026-03-01", periods=ROWS, freq="4min", tz="UTC")
NAMES = ("steady", "moved", "counted", "kind", "on", "seen_at", "empty", "name")


def rows(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Numbers that stay, that move, whole ones with nulls; text, booleans, times; nothing at all; names."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "steady": rng.normal(size=ROWS),
            "moved": rng.normal(shift, 1, ROWS),
            "counted": pd.array(rng.poisson(3, ROWS), dtype="Int64"),
            "kind": rng.choice(["a", "b", "new" if shift else "c", None], ROWS, p=[0.5, 0.3, 0.1, 0.1]),
            "on": rng.random(ROWS) < 0.3,
            "seen_at": TIMES,
            "empty": np.nan if shift else rng.normal(size=ROWS),
            "name": [f"n{seed}-{i}" for i in range(ROWS)],
        }
    ).assign(counted=lambda frame: frame["counted"].mask(rng.random(ROWS) < 0.2))


def scanned(frame: pd.DataFrame, folder: Path, picked: np.ndarray, reference: pd.DataFrame) -> profile_duckdb.Scan:
    """The frame as a Parquet file, read by DuckDB."""
    frame.to_parquet(folder / "rows.parquet", row_group_size=1_000)
    divisions = profile_duckdb.divisions_of(reference, NAMES, TIMES)
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        return profile_duckdb.scan(duck, f"SELECT * FROM '{folder}/rows.parquet'", divisions, picked)


def test_pieces_add_up_to_the_profile_of_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number, of every kind of column, whatever the size of the pieces; what only names things has none."""
    reference, current = rows(1), rows(2, shift=2.0)
    divisions = profile_duckdb.divisions_of(reference, NAMES, TIMES)
    for at_once in (ROWS, 700):
        monkeypatch.setattr(profile_duckdb, "ROWS_AT_ONCE", at_once)
        found = scanned(current, tmp_path, np.arange(0), reference).profiles
        assert set(found) == set(NAMES) - {"name"}
        for name, profiled in found.items():
            column = cols.like(current, name, divisions[name].column)
            assert isinstance(column, cols.Column)
            whole = Profile.of(column.values, divisions[name].knots)
            assert (profiled.profile.rows, profiled.profile.nulls) == (ROWS, whole.nulls), name
            for numbers in ("on", "between", "places"):
                assert (getattr(profiled.profile, numbers) == getattr(whole, numbers)).all(), (name, numbers)


def test_the_rows_that_were_asked_for_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By place, over the borders of pieces, in order."""
    monkeypatch.setattr(profile_duckdb, "ROWS_AT_ONCE", 700)
    current, picked = rows(2), np.array([0, 1, 2_047, 2_048, 4_095, ROWS - 1])
    sample = scanned(current, tmp_path, picked, rows(1)).sample
    assert sample["name"].tolist() == current["name"].iloc[picked].tolist()
    assert sample["moved"].tolist() == current["moved"].iloc[picked].tolist()


@pytest.mark.parametrize("method", ["wasserstein", "ks"])
def test_a_verdict_from_a_sample_and_profiles_is_that_of_all_rows(tmp_path: Path, method: str) -> None:
    """Values, thresholds, missing shares and row counts are of all rows; a sample of fifty alone could say nothing."""
    spec = DriftSpec.model_validate({"method": method, "min_rows": 100, "joint": []})
    reference, current = rows(1), rows(2, shift=1.0)
    asked = {"spec": spec, "columns": NAMES, "reference_times": TIMES}
    whole = detect.detect(reference, current, **asked)
    found = scanned(current, tmp_path, np.arange(0, ROWS, ROWS // 50), reference)
    told = detect.detect(reference, found.sample, **asked, profiles=found.profiles)
    assert detect.detect(reference, found.sample, **asked).verdict == "cannot_tell"
    assert (told.verdict, told.share, told.current_rows) == (whole.verdict, whole.share, ROWS)
    assert {c.column: c.verdict for c in told.columns}["moved"] == "drift"
    for one, other in zip(told.columns, whole.columns, strict=True):
        assert (one.column, one.verdict) == (other.column, other.verdict)
        if other.value is not None:
            assert one.value == pytest.approx(other.value, rel=1e-3, abs=1e-6), one.column
            assert one.threshold == pytest.approx(other.threshold, rel=1e-3), one.column
