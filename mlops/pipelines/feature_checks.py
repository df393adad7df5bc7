"""The checks of every night on features: what a join gave, what is online, what was served.

Each is a gate in the record of its step; all are kept as JSON beside the night's other reports. One that fails is an
incident. Where features of the wrong rows or from the future would be learned from or scored, the step ends there; what
is wrong online alone stops nothing, because nothing else of the night reads it.

One rule: a sample is drawn with the spec's seed and the date, so that a retry looks at the same rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from mlops.data.partitions import delivered_days
from mlops.errors import FeatureError, NotReadyError
from mlops.features import checks
from mlops.features.partitions import stored_days
from mlops.features.store import FeatureStore, ViewInfo
from mlops.pipelines.incidents import tell
from mlops.pipelines.night import as_of, report_uri
from mlops.records import GateResult, Incident, to_dict
from mlops.services import Services
from mlops.serving import log_reading
from mlops.spec import ModelSpec

SAMPLED_ENTITIES = 100
SAMPLED_PREDICTIONS = 100
LIVE = "live_served_equals_offline"


def ready(services: Services, spec: ModelSpec, first: date, last: date) -> None:
    """Refuse to join before the features of every validated delivery of these dates are there.

    Joined too early, rows would silently take older features, and the result would depend on which step was faster.

    Raises:
        NotReadyError: the features step has still to run for some of them.
    """
    delivered = [d for d in delivered_days(services.storage, spec.dataset) if first <= d <= last]
    for view in services.features.views_of(spec.features.service):
        if view.recipe is None or view.dataset != spec.dataset:
            continue
        if late := sorted(set(delivered) - set(stored_days(services.storage, view.name))):
            raise NotReadyError(
                f"View {view.name!r} has no features yet of {len(late)} of {len(delivered)} validated deliveries from "
                f"{first} to {last} (first {late[0]}, last {late[-1]}).",
                hint=f"Let that step run: mlops run features {spec.name} --date {late[0]} --until {late[-1]}",
            )


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
    return held(services, spec, day, step, (checks.conservation(asked, joined), checks.leakage(joined)))


def held(
    services: Services, spec: ModelSpec, day: date, step: str, found: tuple[GateResult, ...]
) -> tuple[GateResult, ...]:
    """Keep what was found of a join, and refuse it if a gate fails; see `of_join`."""
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
    online = store.online_values(service, keys.tolist(), as_of=moment, stale="refuse")
    served, stale = online.frame(views[0].entity, keys.tolist()), int(online.stale.sum())
    offline = store.historical(service, rows.astype({"event_timestamp": "datetime64[us, UTC]"}))
    found = [checks.parity(offline, served, views=views, as_of=moment)]
    found += [
        checks.freshness(view, store.newest_reading(view), as_of=moment, stale=stale, sampled=len(keys))
        for view in views
    ]
    uri = _keep(services, spec, day, "features", found)
    return tuple(found), uri


def of_predictions(services: Services, spec: ModelSpec, day: date, log: pd.DataFrame) -> tuple[GateResult, ...]:
    """What was predicted from against what the offline store says today, on a sample: of the batch, and of what was
    answered over HTTP that day with features from the online store.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.
        log: what the batch predicted: the entity, `known_at` (when features were asked for), the features.

    Returns:
        the gate of the batch, and that of live serving if such a request was answered.
    """
    found = (_of_batch(services, spec, day, log), *_of_answers(services, spec, day))
    _keep(services, spec, day, "monitoring", found)
    return found


def of_answers(services: Services, spec: ModelSpec, day: date) -> tuple[GateResult, ...]:
    """The same of a model that was only asked over HTTP that day; no gate if no features were looked up for it."""
    if found := _of_answers(services, spec, day):
        _keep(services, spec, day, "monitoring", found)
    return found


def _of_answers(services: Services, spec: ModelSpec, day: date) -> tuple[GateResult, ...]:
    live = log_reading.read(services.storage, spec.name, day)
    looked_up = live[live["feature_known_at"].notna()] if len(live) else live
    return (_of_live(services, spec, day, looked_up),) if len(looked_up) else ()


def _of_batch(services: Services, spec: ModelSpec, day: date, log: pd.DataFrame) -> GateResult:
    views = services.features.views_of(spec.features.service)
    part = log.loc[_sampled(pd.Series(log.index), SAMPLED_PREDICTIONS, spec, day)] if len(log) else log
    rows = part[[spec.entity, "known_at"]].rename(columns={"known_at": "event_timestamp"})
    try:
        offline = services.features.historical(spec.features.service, rows.reset_index(drop=True))
        return checks.skew(part, offline, views=views, at="known_at")
    except FeatureError as error:
        return GateResult("served_equals_offline", "cannot_tell", str(error))


def _of_live(services: Services, spec: ModelSpec, day: date, log: pd.DataFrame) -> GateResult:
    """What was answered from the online store, against the offline values at the moment when its reading became known.

    That moment, not the one of the request: the online store lags behind, and is checked for that by itself. Rows whose
    reading the offline store does not hold (pushed, and not delivered since) or whose features had outlived a view's
    time to live when they were asked for are counted and not compared.
    """
    store, views = services.features, services.features.views_of(spec.features.service)
    part = log.loc[_sampled(pd.Series(log.index), SAMPLED_PREDICTIONS, spec, day)].reset_index(drop=True)
    moment = part[["feature_timestamp", "feature_known_at"]].max(axis=1)
    try:
        rows = pd.DataFrame({spec.entity: _keys(store, views, part[spec.entity]), "event_timestamp": moment})
        offline = store.historical(spec.features.service, rows)
        held = (offline["feature_known_at"] == part["feature_known_at"]).to_numpy()
        ttl = min((view.ttl for view in views if view.ttl), default=None)
        fresh = held & (ttl is None or (part["predicted_at"] - part["feature_timestamp"] <= ttl).to_numpy())
        if not fresh.any():
            reason = f"Of none of {len(part):,} answers does the offline store hold the reading they were made from."
            return GateResult(LIVE, "cannot_tell", reason, numbers={"rows": 0.0, "not_compared": float(len(part))})
        served, offline = part[fresh].assign(moment=moment[fresh]), offline[fresh]
        found = checks.skew(served, offline, views=views, at="moment", name=LIVE)
    except FeatureError as error:
        return GateResult(LIVE, "cannot_tell", str(error))
    return replace(found, numbers={**found.numbers, "not_compared": float((~fresh).sum())})


def _keys(store: FeatureStore, views: Sequence[ViewInfo], logged: pd.Series) -> pd.Series:
    """Entities of the log, which are text, as the offline store has them."""
    newest = store.newest_day(views[0])
    there = store.entities(views[0], newest) if newest else []
    return logged.astype("int64") if there and isinstance(there[0], int) else logged


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
        services.alerts.resolve(spec.name, kind, at=services.clock(), day=day, terms=spec.alerts)
        return uri
    tell(
        services,
        spec,
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
    )
    return uri


_CONSEQUENCES = {
    "training": "Nothing was trained on these rows; the champion stays.",
    "inference": "Nothing was scored for this date.",
    "features": "Training and batch scoring go on: they read offline. Who asks the online store gets other values.",
    "monitoring": "Predictions of this date were made from other features than the offline store holds now.",
}
