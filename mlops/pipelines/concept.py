"""The champion's errors of the last nights, as far as their truth is known, under detectors of growing errors.

One rule: only what the champion itself has answered counts; another version's errors say nothing about it.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from mlops.data import labels
from mlops.monitoring.drift.concept import concept_drift
from mlops.pipelines import labelled, night_rows
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.night import as_of, judged_until
from mlops.records import ConceptDrift, ModelVersion
from mlops.services import Services
from mlops.spec import ModelSpec


def changes(services: Services, spec: ModelSpec, day: date, version: ModelVersion) -> tuple[ConceptDrift, ...]:
    """What the spec's detectors say of the nights whose labels are mature by `day`; empty without labels."""
    if spec.label is None or not spec.drift.concept:
        return ()
    last = (judged_until(spec, day) - timedelta(microseconds=1)).date()
    days = [last - timedelta(days=back) for back in range(spec.drift.concept_days)]
    tables = [table for at in days if (table := _answers(services, spec, at, version)) is not None]
    if not tables:
        return concept_drift(np.zeros(0), pd.DatetimeIndex([], tz="UTC"), spec.drift.concept)
    answers = pd.concat(tables, ignore_index=True)
    start = as_of(days[-1]) - timedelta(days=1)
    known = labelled.mature(services, spec, start=start, end=as_of(last), as_of=as_of(day))
    known = labels.keyed_like(known, answers, spec.entity)
    joined = answers.merge(known, on=[spec.entity, "observed_at"], how="inner")
    joined = joined[joined["label"].notna() & joined["score"].notna()]
    return concept_drift(_errors(spec, joined), joined["observed_at"], spec.drift.concept)


def _answers(services: Services, spec: ModelSpec, day: date, version: ModelVersion) -> pd.DataFrame | None:
    manifest = services.storage.manifest(predictions_uri(services, spec, day))
    if manifest is None or manifest.facts["version"] != str(version.version):
        return None
    return night_rows.of_night(services, spec, day, renamed={"label": "predicted_label"}).rows


def _errors(spec: ModelSpec, joined: pd.DataFrame) -> np.ndarray:
    """How far off in regression; else 1 where wrong."""
    if spec.task == "regression":
        return np.asarray(np.abs(joined["score"].to_numpy(dtype=float) - joined["label"].to_numpy(dtype=float)))
    if spec.task == "anomaly":
        flags = joined["flag"].fillna(value=False).to_numpy(dtype=bool)
        return np.asarray(flags != (joined["label"] == 1).to_numpy(), dtype=float)
    return np.asarray((joined["predicted_label"] != joined["label"]).to_numpy(), dtype=float)
