"""Which dates a DAG run is about, and what it tells the DAGs after it.

One rule: a run's dates are fixed when the run is made (form, events or schedule), so re-running it replaces those dates
and never "the latest".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from mlops.errors import ConfigError

TOLD = ("version", "rows", "share", "retrain_reason")  # of a record, beside model, date and reason


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
    """Why a training runs: what the form says, else what monitoring has found (`drift` before all), or how it started.

    >>> training_reason(None, [{"date": "2026-03-05"}], "asset_triggered")
    'drift'
    >>> training_reason(None, [{"date": "2026-03-05", "retrain_reason": "performance"}], "asset_triggered")
    'performance'
    """
    if chosen:
        return chosen
    if told := [str(event.get("retrain_reason") or "drift") for event in events]:
        return "drift" if "drift" in told else told[-1]
    return "manual" if run_type == "manual" else "schedule"


def news(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the Asset event of a step says, or None if there is nothing to tell.

    Monitoring tells of drift, and only of drift that asks for a training; the analysis of experiments of a winner that
    was promoted; any other step tells what it has done.

    Args:
        report: a `StepReport` as a dict.

    >>> news({"step": "ingestion", "model": "m", "date": "2026-03-05", "outcome": "no", "reason": "bad", "record": {}})
    """
    record = report["record"]
    asked = {"monitoring": "retrain", "ab_analysis": "promoted"}.get(report["step"])
    worth_telling = record.get(asked) if asked else report["outcome"] == "done"
    if not worth_telling:
        return None
    facts = {key: report[key] for key in ("model", "date", "reason")}
    return facts | {key: record[key] for key in TOLD if record.get(key) not in (None, "")}


def _checked(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date.", hint="Give it as YYYY-MM-DD, for example 2026-03-05.") from error
