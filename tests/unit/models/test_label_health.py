"""Labels that cannot be trusted are found before a challenger is praised for having learned from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import worlds
from mlops.models.label_health import label_health
from mlops.records import GateResult
from mlops.spec import GatesSpec

ROWS = 2_000
TIMES = pd.date_range("2026-03-01", periods=ROWS, freq="min", tz="UTC")
LATER = datetime(2026, 4, 1, tzinfo=UTC)


def health(y: Any, **changes: Any) -> GateResult:
    """The gate on healthy surroundings, with some of its arguments replaced."""
    usual = {
        "task": "classification",
        "times": TIMES,
        "mature_until": LATER,
        "fit_labels": np.arange(1_000) % 10 == 0,
        "champion": None,
        "champion_auc": None,
        "blocks": np.arange(ROWS),
        "spec": GatesSpec(),
    }
    return label_health(y, **(usual | changes))


def world(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and a champion's scores in random order."""
    rng = np.random.default_rng(seed)
    y, _, champion = worlds.pair(rng, "roc_auc", ROWS, 0.0)
    order = rng.permutation(ROWS)
    return y[order], champion[order]


def test_healthy_labels_pass() -> None:
    """Labels like those that taught, which the champion ranks as it used to."""
    y, champion = world()
    assert health(y, champion=champion, champion_auc=0.85).verdict == "pass"


@pytest.mark.parametrize("known", [0.85, None])
def test_swapped_labels_are_seen_by_the_champion_that_learned_before(known: float | None) -> None:
    """Labels swapped in the whole window: the rate of the fit part tells nothing, but the champion ranks them last."""
    y, champion = world()
    result = health(1 - y, fit_labels=np.arange(1_000) % 10 != 0, champion=champion, champion_auc=known)
    assert result.verdict == "fail"
    assert "the labels look swapped" in result.reason


def test_a_champion_that_has_lost_its_way_does_not_make_labels_look_swapped() -> None:
    """After a change of regime a champion may know nothing: that calls for a challenger, not for other labels."""
    y, _ = world()
    noise = np.random.default_rng(1).normal(size=ROWS)
    assert health(y, champion=noise, champion_auc=0.95).verdict == "pass"
    assert health(y, champion=noise - 0.3 * y, champion_auc=0.8).verdict == "pass"


def test_labels_swapped_in_the_holdout_alone_are_seen_by_their_rate() -> None:
    """A tenth of the fit part is positive, nine tenths of the holdout."""
    y, _ = world()
    result = health(1 - y)
    assert result.verdict == "fail"
    assert "90.0 % of the holdout are positive, 10.0 % of the fit part" in result.reason


def test_anomalies_are_not_the_rule() -> None:
    """More than half of the rows anomalous: the labels are the wrong way round."""
    y, _ = world()
    assert health(1 - y, task="anomaly", fit_labels=[]).verdict == "fail"
    assert health(y, task="anomaly", fit_labels=[]).verdict == "pass"


def test_constant_labels_fail_where_they_should_vary() -> None:
    """A regression target that does not move, or a class that alone is left, is no ground to judge on."""
    assert health(np.full(ROWS, 4.0), task="regression", fit_labels=np.arange(10.0)).verdict == "fail"
    assert health(np.ones(ROWS)).verdict == "fail"


def test_a_forecast_s_sign_that_has_turned_is_seen() -> None:
    """The champion's forecasts fall where the labels rise."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=ROWS)
    forecast = truth + rng.normal(size=ROWS)
    assert health(truth, task="regression", fit_labels=truth, champion=forecast).verdict == "pass"
    assert health(-truth, task="regression", fit_labels=truth, champion=forecast).verdict == "fail"


def test_a_label_before_its_time_fails() -> None:
    """A label of a row that is younger than labels may be counts too early; one at the limit does not."""
    y, _ = world()
    assert health(y, mature_until=TIMES[-1].to_pydatetime()).verdict == "pass"
    result = health(y, mature_until=TIMES[-2].to_pydatetime())
    assert (result.verdict, result.value) == ("fail", 1.0)


def test_labels_that_are_still_coming_in_cannot_tell() -> None:
    """The newest quarter is hardly labelled: whoever is judged now is judged on the old."""
    y, _ = world()
    y[1_600:] = np.nan
    assert health(y).verdict == "cannot_tell"
    assert health(np.full(ROWS, np.nan)).verdict == "cannot_tell"
