"""The step log on SQLite and on PostgreSQL: the last of each outcome, the record of the newest date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from mlops.governance.database import Database
from mlops.monitoring.step_log import STEP_TABLES, StepLog
from mlops.records import StepReport

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)


def answer(day: int, outcome: Any = "done", seconds: float = 1.0, **record: Any) -> StepReport:
    """How a step ended."""
    return StepReport("inference", "fleet", date(2026, 3, day), outcome, "", seconds, record)


def test_the_newest_date_is_kept_and_when_it_was_last_at_work_counts(url: str) -> None:
    """A backfill of an older date moves the time, not the record; a repetition replaces it; outcomes stand apart."""
    log = StepLog(Database(url, STEP_TABLES, {}))
    for hours, given in enumerate(
        (answer(2, rows=20), answer(1, rows=10), answer(1, "no"), answer(2, rows=21, seconds=3))
    ):
        log.note(given, at=NOW + timedelta(hours=hours))
    done, no = log.results("fleet")
    assert (done.outcome, done.date, done.record, done.at) == (
        "done", date(2026, 3, 2), {"rows": 21}, NOW + timedelta(hours=3),
    )  # fmt: skip
    assert (done.seconds, no.outcome, no.date, no.at) == (3, "no", date(2026, 3, 1), NOW + timedelta(hours=2))
    log.note(answer(1, rows=11), at=NOW + timedelta(hours=5))
    done, _ = log.results("fleet")
    assert (done.record, done.at) == ({"rows": 21}, NOW + timedelta(hours=5))
    assert log.results("pump") == []
