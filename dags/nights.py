"""Which dates a DAG run is about, and what it tells the DAGs after it.

One rule: a run's dates are fixed when the run is made (form, events or schedule), so re-running it replaces those dates
and never "the latest".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from mlops.errors import ConfigError


def dates(chosen: str | None, events: Iterable[Mapping[str, Any]], moment: datetime) -> list[str]:
    """The dates of a run, oldest first.

    Args:
        chosen: the date of the form, YYYY-MM-DD; it outweighs all else.
        events: facts of the Asset events that started the run; several are waiting when a run had to queue.
        moment: end of the run's data interval, or when the run was asked for. Without the other two, the run is about
            the last whole day before it.

    Raises:
        ConfigError: a date is not YYYY-MM-DD.

    >>> dates(None, [{"date": "2026-03-05"}, {"date": "2026-03-04"}, {"date": "2026-03-05"}], datetime(2026, 3, 9))
    ['2026-03-04', '2026-03-05']
    >>> dates(None, [], datetime(2026, 3, 9, 1))
    ['2026-03-08']
    """
    if chosen:
        return [_checked(chosen)]
    told = {_checked(str(event["date"])) for event in events if event.get("date")}
    return sorted(told) or [(moment - timedelta(days=1)).date().isoformat()]


def training_reason(chosen: str | None, events: Iterable[Mapping[str, Any]], run_type: str) -> str:
    """Why a training runs: what the form says, else `drift`, `manual` or `schedule`.

    >>> training_reason(None, [{"date": "2026-03-05"}], "asset_triggered")
    'drift'
    """
    if chosen:
        return chosen
    if any(True for _ in events):
        return "drift"
    return "manual" if run_type == "manual" else "schedule"


def news(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the Asset event of a step says, or None if there is nothing to tell.

    Monitoring tells of drift, and only of drift that asks for a training; any other step tells what it has done.

    Args:
        report: a `StepReport` as a dict.

    >>> news({"step": "ingestion", "model": "m", "date": "2026-03-05", "outcome": "no", "reason": "bad", "record": {}})
    """
    record = report["record"]
    worth_telling = record.get("retrain") if report["step"] == "monitoring" else report["outcome"] == "done"
    if not worth_telling:
        return None
    facts = {key: report[key] for key in ("model", "date", "reason")}
    return facts | {key: record[key] for key in ("version", "rows", "share") if record.get(key) is not None}


def _checked(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date.", hint="Give it as YYYY-MM-DD, for example 2026-03-05.") from error
