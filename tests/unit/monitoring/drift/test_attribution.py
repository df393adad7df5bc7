"""Whom drift is put down to, and what it does to the model's answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops.monitoring.drift import attribution
from mlops.monitoring.drift.measures import Floats
from mlops.spec import DriftSpec

SPEC = DriftSpec()


def fleet(seed: int, days: int, devices: int = 6) -> pd.DataFrame:
    """Devices of different level, 48 rows a day each; two columns that matter to nobody but the model below."""
    rng = np.random.default_rng(seed)
    at = pd.date_range("2026-03-01", periods=48 * days, freq="30min", tz="UTC")
    parts = [
        pd.DataFrame({"device": f"d{i}", "at": at, "x": i + rng.normal(size=len(at)), "y": rng.normal(size=len(at))})
        for i in range(devices)
    ]
    return pd.concat(parts, ignore_index=True)


def score(rows: pd.DataFrame) -> Floats:
    """Twice x, and y not at all."""
    return 2 * rows["x"].to_numpy(dtype=float)


def found(current: pd.DataFrame, moved: list[str]) -> dict[str, float]:
    """The entities of two weeks' reference."""
    reference = fleet(0, 14)
    return attribution.entities(reference, current, moved, entity="device", reference_times=reference["at"], spec=SPEC)


def test_the_devices_that_moved_are_named_and_the_strongest_first() -> None:
    """Two of six devices run differently; their usual level, which differs from device to device, is no drift."""
    current = fleet(1, 1)
    current.loc[current["device"] == "d2", "x"] += 4
    current.loc[current["device"] == "d4", "x"] -= 8
    assert list(found(current, ["x"])) == ["d4", "d2"]
    assert found(fleet(1, 1), ["y"]).keys() <= {f"d{i}" for i in range(6)}
    assert len(found(fleet(1, 1), ["x"])) <= 2


def test_a_device_whose_sensor_fails_is_named() -> None:
    """Missing values are put down to the device that misses them; what is about the table is asked of none."""
    current = fleet(1, 1)
    current.loc[current["device"] == "d3", "x"] = np.nan
    assert list(found(current, ["missing(x)"])) == ["d3"]
    assert found(current, ["joint(pca_reconstruction)"]) == {}


def test_a_device_without_a_past_is_not_judged() -> None:
    """A new device has moved from nowhere."""
    current = fleet(1, 1).assign(device="new")
    assert found(current, ["x"]) == {}


def consequence(current: pd.DataFrame, moved: list[str], **more: object) -> attribution.Consequence:
    """What the drift does to `score`."""
    rng = np.random.default_rng(0)
    return attribution.consequence(score, fleet(0, 14), current, moved, features=["x", "y"], rng=rng)


def test_the_consequence_is_how_far_the_scores_follow() -> None:
    """A shift of x by one standard deviation of x moves the scores by one of theirs; any shift of y by nothing."""
    reference, current = fleet(0, 14), fleet(1, 1)
    spread = reference["x"].std()
    current["x"] += spread
    current["y"] += 50
    result = consequence(current, ["x", "y", "joint(pca_reconstruction)"])
    assert result.effect["x"] == pytest.approx(1.0, abs=0.1)
    assert result.effect["y"] == result.importance["y"] == 0.0
    assert result.importance["x"] == pytest.approx(2 / np.sqrt(np.pi), abs=0.1)  # E|a − b| of independent normals
    assert result.total == pytest.approx(result.effect["x"], rel=1e-6)
    assert consequence(current, ["y"]).total == 0.0


def test_scores_that_do_not_vary_give_no_answer() -> None:
    """A model that says the same of every row: the consequence is not known, which is not "none"."""
    rng = np.random.default_rng(0)
    reference = fleet(0, 3)
    result = attribution.consequence(
        lambda rows: np.ones(len(rows)), reference, reference, ["x"], features=["x"], rng=rng
    )
    assert result.total is None


def test_a_column_as_it_is_now_keeps_its_ranks_and_takes_the_nulls() -> None:
    """Numbers are replaced rank by rank, text is drawn anew, nulls come at their rate of tonight."""
    rng = np.random.default_rng(0)
    taught = pd.Series(rng.normal(size=2_000))
    seen = pd.Series(5 + 3 * rng.normal(size=2_000))
    now = attribution.as_it_is_now(taught, seen, rng)
    assert (np.argsort(now, kind="stable") == np.argsort(taught.to_numpy(), kind="stable")).all()
    assert np.std(now) == pytest.approx(seen.std(), rel=0.02)
    holes = attribution.as_it_is_now(taught, seen.where(np.arange(2_000) % 4 > 0), rng)
    assert np.isnan(holes).mean() == pytest.approx(0.25, abs=0.03)
    words = attribution.as_it_is_now(pd.Series(["a"] * 500), pd.Series(["b", None] * 250), rng)
    assert {str(word) for word in words} == {"b", "None"}
