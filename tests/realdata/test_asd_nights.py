"""Fifteen nights of twelve real servers: the pipelines on a 14-day window, and the detectors against a reference."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mlops.models import catalogue
from mlops.services import Services
from mlops.spec import CandidateSpec
from tests.realdata.conftest import live

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

FIRST_NIGHT = date(2020, 1, 31)  # day 31 of 45: the first with labels
NIGHTS = 15
WINDOW_DAYS = 14
METRICS = tuple(f"metric_{i:02d}" for i in range(19))

# Mean over servers of the ROC AUC over all fifteen nights, of a reference run of the same detectors: one model a server
# and night on the standardised raw metrics of the 14 days before. Forests differ by their seed by some thousandths.
REFERENCE = {"isolation_forest": 0.623, "ecod": 0.597, "knn": 0.764}
TOLERANCE = 0.01


def test_the_pipelines_live_through_fifteen_nights(installation: Services) -> None:
    """Every night of real telemetry is ingested, judged and scored whole; no step fails and a champion stands."""
    spec = installation.spec("asd")
    history = FIRST_NIGHT - timedelta(days=WINDOW_DAYS)
    live(installation, spec, history, WINDOW_DAYS, steps=("ingestion", "features"))
    told = live(installation, spec, FIRST_NIGHT, NIGHTS)
    rows_per_night = 12 * 24 * 12  # servers × hours × five-minute steps
    assert len(told) == NIGHTS
    for night in told.values():
        assert night["ingestion"].outcome == "done", night["ingestion"].reason
        assert night["ingestion"].record["rows"] == rows_per_night
        assert night["training"].outcome == "done", night["training"].reason
    champions = [night["inference"].record.get("version") for night in told.values()]
    first = next(i for i, version in enumerate(champions) if version is not None)
    assert all(version is not None for version in champions[first:])
    scored = [night["inference"].record for night in list(told.values())[first:]]
    assert all(batch["rows"] == batch["scored_rows"] == rows_per_night for batch in scored)
    judged = [night["validation"].record for night in told.values() if night["validation"].record]
    compared = [g for decision in judged for g in decision["gates"] if g["name"] == "better_than_champion"]
    assert any(gate["verdict"] != "cannot_tell" for gate in compared)
    assert installation.ledger.verify() == []


@pytest.mark.parametrize("algorithm", sorted(REFERENCE))
def test_the_catalogue_reaches_the_reference_detectors(real_data: Path, algorithm: str) -> None:
    """One model per server on the 14 days before each night reaches the reference's mean ROC AUC."""
    rows = pd.read_parquet(real_data / "asd" / "metrics.parquet").astype({"device_id": str})
    rows["day"] = rows["event_timestamp"].dt.date
    nights: list[pd.DataFrame] = []
    for night in (FIRST_NIGHT + timedelta(days=i) for i in range(NIGHTS)):
        window = rows[(rows["day"] >= night - timedelta(days=WINDOW_DAYS)) & (rows["day"] < night)]
        candidate = CandidateSpec(algorithm=algorithm, per_entity=True)
        scorer = catalogue.build(candidate, task="anomaly", features=METRICS, entity="device_id", seed=0).fit(window)
        judged = rows[rows["day"] == night]
        nights.append(judged[["device_id", "anomaly"]].assign(score=scorer.score(judged)))
    scored = pd.concat(nights)
    found = [roc_auc_score(of["anomaly"].to_numpy(dtype=float), of["score"]) for _, of in scored.groupby("device_id")]
    assert len(found) == 12
    assert float(np.mean(found)) >= REFERENCE[algorithm] - TOLERANCE, f"{np.mean(found):.4f}"
