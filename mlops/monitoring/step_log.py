"""How the steps of each model ended last, with their records: what `mlops metrics` shows is read from here.

One row per model, step and outcome, so a refusal does not hide the last success. The record of an older date (a
backfill) does not replace that of a newer one; when a step was last at work always counts.

One rule: nothing is decided by what stands here. Lost, it is complete again after one night.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mlops.monitoring.incident_tables import Transactions, as_text
from mlops.records import Outcome, StepReport

_METADATA = sa.MetaData()
_STEPS = sa.Table(
    "step_results",
    _METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("date", sa.Text, nullable=False),  # of the record
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("record", sa.Text, nullable=False),  # JSON
)
STEP_TABLES = (_STEPS,)


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended with one outcome, the last time."""

    model: str
    step: str
    outcome: Outcome
    at: datetime  # when it ended
    seconds: float  # how long it took
    date: date  # the newest date it ended so for
    record: dict[str, Any]  # of that date


class StepLog:
    """The step log of one installation.

    Args:
        database: where the table is.
    """

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def note(self, answer: StepReport, *, at: datetime) -> None:
        """Keep how a step ended; the same again changes nothing but the time.

        Raises:
            LedgerError: the database refused.
        """
        row: dict[str, Any] = {"model": answer.model, "step": answer.step, "outcome": answer.outcome, "at": as_text(at)}
        row |= {"seconds": answer.seconds, "date": answer.date.isoformat(), "record": json.dumps(answer.record)}
        with self._database.writing() as connection:
            insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(_STEPS).values(row)
            newer = insert.excluded.date >= _STEPS.c.date
            changed = {
                "at": insert.excluded.at,
                "seconds": insert.excluded.seconds,
                "record": sa.case((newer, insert.excluded.record), else_=_STEPS.c.record),
                "date": sa.case((newer, insert.excluded.date), else_=_STEPS.c.date),
            }
            connection.execute(insert.on_conflict_do_update(index_elements=["model", "step", "outcome"], set_=changed))

    def results(self, model: str) -> list[StepResult]:
        """How the steps of a model ended, one entry per step and outcome."""
        table = _STEPS.c
        query = sa.select(_STEPS).where(table.model == model).order_by(table.step, table.outcome)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [
            StepResult(
                model=row.model,
                step=row.step,
                outcome=row.outcome,
                at=datetime.fromisoformat(row.at).astimezone(UTC),
                seconds=row.seconds,
                date=date.fromisoformat(row.date),
                record=json.loads(row.record),
            )
            for row in rows
        ]
