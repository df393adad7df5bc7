"""The checks of every night on features: what a join gave, what is online, what was served.

Each is a gate in the record of its step; all are kept as JSON beside the night's other reports. One that fails is an
incident. Where features of the wrong rows or from the future would be learned from or scored, the step ends there; what
is wrong online alone stops nothing, because nothing else of the night reads it.

One rule: a sample is drawn with the spec's seed and the date, so that a retry looks at the same rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from mlops.errors import FeatureError
from mlops.features import checks
from mlops.pipelines.night import as_of, report_uri
from mlops.records import GateResult, Incident, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

SAMPLED_ENTITIES = 100
SAMPLED_PREDICTIONS = 100


def of_join(
    services: Services, spec: ModelSpec, day: date, step: str, asked: pd.DataFrame, joined: pd.DataFrame
) -> tuple[GateResult, ...]:
    """Conservation and leakage of a join.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.
        step: who joined.
        asked: the rows that went in.
        joined: what `FeatureStore.historical` gave.

    Raises:
        FeatureError: rows were lost, changed or hold something from their future; what follows may not use them.
    """
    asked = asked.assign(event_timestamp=asked["event_timestamp"].dt.tz_convert("UTC"))
    found = (checks.conservation(asked, joined), checks.leakage(joined))
    _keep(services, spec, day, step, found)
    if failed := [gate for gate in found if gate.verdict == "fail"]:
        raise FeatureError(
            f"The join of {spec.name} for {step} of {day} cannot be used: {failed[0].name}: {failed[0].reason}",
            hint="Nothing was written. This is a fault of the offline store: hold its version against the lock.",
        )
    return found


def of_online_store(services: Services, spec: ModelSpec, day: date) -> tuple[tuple[GateResult, ...], str]:
    """Parity of online and offline on a sample of the date's entities, and the freshness of each view.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.

    Returns:
        the gates, and where they are kept.
    """
    store, service = services.features, spec.features.service
    views = store.views_of(service)
    moment = as_of(max([day, *(last for view in views if (last := store.newest_day(view)) is not None)]))
    entities = pd.Series(list(dict.fromkeys(key for view in views for key in store.entities(view, day))))
    keys = _sampled(entities, SAMPLED_ENTITIES, spec, day)
    rows = pd.DataFrame({views[0].entity: keys, "event_timestamp": pd.DatetimeIndex([moment] * len(keys))})
    stale = int(store.online_values(service, keys.tolist(), as_of=moment, stale="mark").stale.sum())
    served = store.online(service, keys.tolist(), as_of=moment, stale="refuse")
    offline = store.historical(service, rows.astype({"event_timestamp": "datetime64[us, UTC]"}))
    found = [checks.parity(offline, served, views=views, as_of=moment)]
    found += [
        checks.freshness(view, store.newest_reading(view), as_of=moment, stale=stale, sampled=len(keys))
        for view in views
    ]
    uri = _keep(services, spec, day, "features", found)
    return tuple(found), uri


def of_predictions(services: Services, spec: ModelSpec, day: date, log: pd.DataFrame) -> tuple[GateResult, ...]:
    """What was served against what the offline store says today, on a sample.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.
        log: what was predicted: the entity, `known_at` (when features were asked for), the features.
    """
    views = services.features.views_of(spec.features.service)
    part = log.loc[_sampled(pd.Series(log.index), SAMPLED_PREDICTIONS, spec, day)] if len(log) else log
    rows = part[[spec.entity, "known_at"]].rename(columns={"known_at": "event_timestamp"})
    try:
        offline = services.features.historical(spec.features.service, rows.reset_index(drop=True))
        found = checks.skew(part, offline, views=views, at="known_at")
    except FeatureError as error:
        found = GateResult("served_equals_offline", "cannot_tell", str(error))
    _keep(services, spec, day, "monitoring", [found])
    return (found,)


def _sampled(values: pd.Series, size: int, spec: ModelSpec, day: date) -> np.ndarray:
    rng = np.random.default_rng([spec.seed, zlib.crc32(spec.name.encode()), day.toordinal()])
    return np.asarray(values.iloc[np.sort(rng.permutation(len(values))[:size])])


def _keep(services: Services, spec: ModelSpec, day: date, step: str, found: Sequence[GateResult]) -> str:
    """Keep the gates as JSON; tell of those that fail, and that those of earlier times are over."""
    uri = report_uri(services, spec, day, f"checks_{step}.json")
    services.storage.write_json(uri, [to_dict(gate) for gate in found])
    failed = [gate for gate in found if gate.verdict == "fail"]
    kind = f"checks of {step}"
    if not failed:
        services.alerts.resolve(spec.name, kind, at=services.clock(), day=day)
        return uri
    services.alerts.raise_incident(
        Incident(
            key=f"{spec.name}/{kind}",
            model=spec.name,
            kind=kind,
            date=day,
            urgency="high" if step in ("training", "inference") else "normal",
            summary=f"{spec.name} {day}: " + " ".join(f"{gate.name}: {gate.reason}" for gate in failed),
            consequence=_CONSEQUENCES[step],
            action=f"Open {uri}; see docs/online.md, 'Checks of every night'.",
            evidence_uri=uri,
        ),
        channels=spec.alerts.channels,
        runbook=spec.alerts.runbook,
    )
    return uri


_CONSEQUENCES = {
    "training": "Nothing was trained on these rows; the champion stays.",
    "inference": "Nothing was scored for this date.",
    "features": "Training and batch scoring go on: they read offline. Who asks the online store gets other values.",
    "monitoring": "Predictions of this date were made from other features than the offline store holds now.",
}
