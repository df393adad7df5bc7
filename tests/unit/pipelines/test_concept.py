"""Errors of the champion over nights whose labels are mature."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from mlops.pipelines import concept
from mlops.pipelines.inference import predictions_uri
from mlops.records import ModelVersion
from mlops.services import Services
from mlops.spec import DriftSpec, LabelSpec, ModelSpec
from tests.contenders import Contenders

FIRST = date(2026, 4, 1)


def live(services: Services, spec: ModelSpec, version: ModelVersion, nights: int, *, worse_from: int) -> None:
    """Nights with predictions and truth: one of ten answers is wrong, from a night on four of ten."""
    for night in range(nights):
        day = FIRST + timedelta(days=night)
        rng = np.random.default_rng(day.toordinal())
        times = pd.date_range(str(day), periods=480, freq="3min", tz="UTC")
        truth = rng.random(480) < 0.3
        wrong = rng.random(480) < (0.4 if night >= worse_from else 0.1)
        arrived = times + pd.Timedelta(seconds=20)
        rows = {"device_id": "a", "event_timestamp": times, "arrived_at": arrived, "truth": truth.astype(int)}
        answers = {"device_id": "a", "observed_at": times, "score": 0.5, "flag": truth ^ wrong}
        for uri, table, facts in (
            (services.storage.uri("data", spec.dataset, f"date={day}"), rows, {}),
            (predictions_uri(services, spec, day), answers, {"version": str(version.version)}),
        ):
            services.storage.write_table(uri, pa.Table.from_pandas(pd.DataFrame(table), preserve_index=False), facts)


def test_growing_errors_of_the_champion_are_told_once_labels_are_mature(contenders: Contenders) -> None:
    """Not before the labels of the worse nights are mature, not for another version, not without a label."""
    label = LabelSpec(column="truth", maturity_days=1)
    spec = contenders.spec.model_copy(update={"label": label, "drift": DriftSpec(concept=("adwin", "page_hinkley"))})
    services, version = contenders.services, contenders.register()
    live(services, spec, version, 10, worse_from=6)
    early = concept.changes(services, spec, FIRST + timedelta(days=6), version)
    late = concept.changes(services, spec, FIRST + timedelta(days=9), version)
    assert [one.verdict for one in early] == ["no_drift", "no_drift"]
    assert [one.verdict for one in late] == ["drift", "drift"]
    assert all(one.at is not None and one.at.date() >= FIRST + timedelta(days=6) for one in late)
    other = contenders.register()
    assert {one.verdict for one in concept.changes(services, spec, FIRST + timedelta(days=9), other)} == {"cannot_tell"}
    unlabelled = spec.model_copy(update={"label": None})
    assert concept.changes(services, unlabelled, FIRST + timedelta(days=9), version) == ()
