"""What a night knows: the arithmetic of dates that all steps share.

One rule: a step's result depends on its date, never on the wall clock.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from mlops.records import Outcome, StepReport, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

JUDGED_NIGHTS = 14  # whose predictions are measured again every night, as their labels come in


def as_of(day: date) -> datetime:
    """The moment up to which the night of `day` knows things: the end of that day, UTC.

    >>> as_of(date(2026, 3, 1)).isoformat()
    '2026-03-02T00:00:00+00:00'
    """
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def run_key(spec: ModelSpec, step: str, day: date) -> str:
    """The identity of a piece of work: `<model>/<step>/<date>`."""
    return f"{spec.name}/{step}/{day.isoformat()}"


def judged_until(spec: ModelSpec, day: date) -> datetime:
    """The newest event whose label the night of `day` may count on: what is younger can be learned from by nobody."""
    if spec.label is None:
        return as_of(day)
    return as_of(day) - timedelta(days=spec.label.maturity_days, hours=spec.label.horizon_hours)


def days_between(start: datetime, end: datetime) -> list[date]:
    """Dates of the days that [start, end) touches."""
    last = (end - timedelta(microseconds=1)).date()
    return [start.date() + timedelta(days=i) for i in range((last - start.date()).days + 1)]


def inputs_hash(spec: ModelSpec, fingerprint: str, code_version: str, candidate: str) -> str:
    """sha256 over all that decides what a candidate learns: data, spec, code, candidate (the seed is in the spec)."""
    parts = "\n".join([fingerprint, spec.training_hash, code_version, candidate])
    return hashlib.sha256(parts.encode()).hexdigest()


def late_rows(rows: pd.DataFrame, spec: ModelSpec) -> pd.Series:
    """Which rows arrived after a newer reading of the same entity, so that nothing was decided on them.

    Args:
        rows: with the entity, event and known-at columns of `spec`.

    Returns:
        Boolean, shape (n_rows,), on the index of `rows`.
    """
    event = spec.timestamps.event
    ordered = rows.sort_values([spec.entity, spec.known_at, event], kind="stable")
    newest_before = ordered.groupby(spec.entity, sort=False)[event].transform(lambda s: s.cummax().shift())
    late = ordered[event] <= newest_before
    return late.reindex(rows.index)


def entity_rows(rows: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """Rows as Feast wants them: entity, `event_timestamp` (when it became known), `observed_at` (when it happened)."""
    import pandas as pd

    times = {"event_timestamp": rows[spec.known_at], "observed_at": rows[spec.timestamps.event]}
    zoned = {name: column.astype("datetime64[us, UTC]").array for name, column in times.items()}
    return pd.DataFrame({spec.entity: rows[spec.entity].to_numpy()} | zoned)


def instants(times: pd.Series) -> np.ndarray:
    """Zoned times as plain UTC datetime64, shape (n_rows,), where pandas would make an object of every single one."""
    import numpy as np

    return np.asarray(times.dt.tz_convert("UTC").dt.tz_localize(None))


def report(
    step: str, spec: ModelSpec, day: date, outcome: Outcome, reason: str, record: object | None = None
) -> StepReport:
    """The answer of a step; `record` is one of `mlops.records`."""
    return StepReport(step, spec.name, day, outcome, reason, record=to_dict(record) if record is not None else {})


def report_uri(services: Services, spec: ModelSpec, day: date, name: str) -> str:
    """Where a page that a person reads is kept: `reports/<model>/<date>/<name>`."""
    return services.storage.uri("reports", spec.name, day.isoformat(), name)
